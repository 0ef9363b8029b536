update local_series l set series_id = s.series_id
from warehouse.series s
where l.series_id is null and s.relation = {relation} and (s.entity, s.keys, s.sensor_type) = (l.entity, l.keys, l.sensor_type)
returning l.local, s.series_id
