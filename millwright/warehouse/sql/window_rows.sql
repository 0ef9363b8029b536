-- The newest rows of a window with one of their values, and the batch and position that this value came from.
select m.event_timestamp, s.sensor_type, case when %(name)s::text is null then 'true'::jsonb else m.{values} -> %(name)s end,
       coalesce((m.sources -> %(name)s ->> 0)::bigint, m.batch_id), coalesce((m.sources -> %(name)s ->> 1)::bigint, m.position)
from warehouse.series s join warehouse.{rows} m using (series_id)
where s.series_id = any(%(series)s) and m.event_timestamp >= %(first)s and m.event_timestamp <= %(last)s
  and (%(name)s::text is null or m.{values} ? %(name)s)
order by m.event_timestamp desc, s.sensor_type desc
limit %(limit)s
