select s.segment as entity_id, m.event_timestamp as t, s.sensor_type{inputs}
from unnest({segments}::int[], {series}::int[], {sensor_types}::text[], {firsts}::timestamptz[], {ends}::timestamptz[])
  as s(segment, series_id, sensor_type, first_event, end_event)
join {rows} m
  on m.series_id = s.series_id and m.event_timestamp >= s.first_event and m.event_timestamp < s.end_event
where m.event_timestamp >= {first} and m.event_timestamp < {end}
