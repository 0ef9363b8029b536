-- Rows of a window by the batch that gave the value; those without it under null.
select case when %(name)s::text is null or m.{values} ? %(name)s
            then coalesce((m.sources -> %(name)s ->> 0)::bigint, m.batch_id) end as batch_id,
       count(*)
from warehouse.{rows} m
where m.series_id = any(%(series)s) and m.event_timestamp >= %(first)s and m.event_timestamp <= %(last)s
group by 1 order by 1
