-- One look at each end of a series' index: the extent of a long history costs no more than a short one's.
select s.series_id, s.relation, s.keys, s.sensor_type, e.first, e.last
from warehouse.series s
cross join lateral (
  select (select m.event_timestamp from warehouse.{rows} m where m.series_id = s.series_id order by m.event_timestamp limit 1) as first,
         (select m.event_timestamp from warehouse.{rows} m where m.series_id = s.series_id order by m.event_timestamp desc limit 1) as last
) e
where s.relation = {relation} and s.entity = %(entity)s and (%(words)s::text[] is null or s.sensor_type = any(%(words)s))
