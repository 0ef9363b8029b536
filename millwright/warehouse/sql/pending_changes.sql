select keys, first, last, created_timestamp, historical
from warehouse.changes
where relation = 'measurements' and entity = %(entity)s and (%(sensor_type)s::text is null or sensor_type = %(sensor_type)s)
  and created_timestamp > %(after)s
