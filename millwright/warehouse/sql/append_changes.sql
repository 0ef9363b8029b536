insert into warehouse.changes (created_timestamp, batch_id, relation, entity, keys, sensor_type, first, last, historical)
select %(created)s, %(batch)s, {relation}, entity, keys, sensor_type, first, last, %(historical)s
from touched
