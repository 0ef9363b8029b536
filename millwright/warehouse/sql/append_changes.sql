insert into warehouse.changes (created_timestamp, batch_id, relation, entity, keys, sensor_type, first, last, historical)
select %(created)s, %(batch)s, s.relation, s.entity, s.keys, s.sensor_type, min(t.first), max(t.last), %(historical)s
from touched t join warehouse.series s using (series_id)
group by s.series_id, t.day
