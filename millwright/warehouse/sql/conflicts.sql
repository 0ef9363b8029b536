select p.position,
       jsonb_agg(jsonb_build_object(
         'column', r.key, 'code', 'conflict', 'here', r.value, 'there', p.state -> r.key,
         'batch', coalesce((p.sources -> r.key ->> 0)::bigint, p.of_batch),
         'position', coalesce((p.sources -> r.key ->> 1)::bigint, p.of_position)) order by r.key)
from pending p, jsonb_each(p.readings) r
where p.verdict = 'conflict' and p.state ? r.key and p.state -> r.key <> r.value
group by p.position
order by p.position
