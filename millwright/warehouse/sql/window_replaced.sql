-- Values that stood in a window until a correction replaced them.
select h.event_timestamp, s.sensor_type, h.{values} -> %(name)s,
       coalesce((h.sources -> %(name)s ->> 0)::bigint, h.batch_id), coalesce((h.sources -> %(name)s ->> 1)::bigint, h.position),
       h.replaced_by
from warehouse.series s join warehouse.{history} h using (series_id) left join warehouse.{rows} m using (series_id, event_timestamp)
where s.series_id = any(%(series)s) and h.event_timestamp >= %(first)s and h.event_timestamp <= %(last)s
  and h.{values} ? %(name)s and (h.{values} -> %(name)s) is distinct from (m.{values} -> %(name)s)
order by h.event_timestamp desc, h.replaced_by desc
limit %(limit)s
