insert into warehouse.{history} (series_id, event_timestamp, {values}, batch_id, position, sources, replaced_by)
select m.series_id, m.event_timestamp, m.{values}, m.batch_id, m.position, m.sources, %(batch)s
from warehouse.{rows} m
where (m.series_id, m.event_timestamp) in (select series_id, event_timestamp from pending where verdict = 'corrected')
