insert into landing.met (batch_id, earlier)
select distinct %(batch)s::bigint, earlier
from pending p, lateral (
  select p.of_batch union all select (s.value ->> 0)::bigint from jsonb_each(p.sources) s
) e(earlier)
where earlier <> %(batch)s
order by earlier
returning earlier
