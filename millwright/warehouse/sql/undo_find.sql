-- Rows that one of the batches wrote, by the change log of its landing: a look at its series and days, never at the whole table.
insert into undo_keys
select distinct m.series_id, m.event_timestamp
from warehouse.changes c
join landing.batches b on b.batch_id = c.batch_id and b.created_timestamp = c.created_timestamp
join warehouse.series s on (s.entity, s.keys, s.sensor_type, s.relation) = (c.entity, c.keys, c.sensor_type, c.relation)
join warehouse.{rows} m on m.series_id = s.series_id and m.event_timestamp between c.first and c.last
where c.relation = {relation} and c.batch_id = any(%(batches)s) and (
  m.batch_id = any(%(batches)s)
  or exists (select from jsonb_each(m.sources) r where (r.value ->> 0)::bigint = any(%(batches)s)))
