-- The first open line of each key gives its readings; the other open lines of the key see them.
with first as (
  select distinct on (series_id, event_timestamp)
         series_id, event_timestamp, position, readings, state || readings as merged,
         case when (readings || state) @> readings then 'loaded' else 'corrected' end as verdict,
         coalesce(sources, '{}') || (
           select jsonb_object_agg(r.key, jsonb_build_array(%(batch)s::bigint, position))
           from jsonb_each(readings) r where state -> r.key is distinct from r.value) as merged_sources
  from pending where verdict is null
  order by series_id, event_timestamp, position
)
update pending p
set state = first.merged, sources = first.merged_sources,
    verdict = case when p.position = first.position then first.verdict end
from first
where p.verdict is null and p.series_id = first.series_id and p.event_timestamp = first.event_timestamp
