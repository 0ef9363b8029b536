insert into warehouse.measurements_history (series_id, event_timestamp, readings, batch_id, position, sources, replaced_by)
select m.series_id, m.event_timestamp, m.readings, m.batch_id, m.position, m.sources, %(batch)s
from warehouse.measurements m
where (m.series_id, m.event_timestamp) in (select series_id, event_timestamp from pending where verdict = 'corrected')
