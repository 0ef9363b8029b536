insert into warehouse.changes (created_timestamp, batch_id, relation, entity, keys, sensor_type, first, last)
select %(created)s, u.batch_id, s.relation, s.entity, s.keys, s.sensor_type, min(u.event_timestamp), max(u.event_timestamp)
from undone u join warehouse.series s using (series_id)
group by u.batch_id, s.series_id, (u.event_timestamp at time zone 'UTC')::date
