insert into pending (position, series_id, event_timestamp, readings, state, of_batch, of_position, sources)
select s.position, m.series_id, m.event_timestamp, s.readings, m.{values}, m.batch_id, m.position, m.sources
from staged s
join local_series l using (local)
join warehouse.{rows} m on m.series_id = l.series_id and m.event_timestamp = s.event_timestamp
where m.batch_id <> %(batch)s or m.position <> s.position
order by m.series_id, m.event_timestamp, s.position
for update of m
