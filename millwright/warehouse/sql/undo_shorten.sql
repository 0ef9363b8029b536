-- Values that the batch merged into others' rows are taken out again.
with given as (
  select m.series_id, m.event_timestamp, array_agg(r.key) as names
  from warehouse.{rows} m join undo_keys k using (series_id, event_timestamp), jsonb_each(m.sources) r
  where (r.value ->> 0)::bigint = %(batch)s
  group by 1, 2
), shortened as (
  update warehouse.{rows} m
  set {values} = m.{values} - g.names, sources = nullif(m.sources - g.names, '{{}}')
  from given g where m.series_id = g.series_id and m.event_timestamp = g.event_timestamp
  returning m.series_id, m.event_timestamp
)
insert into undone select series_id, event_timestamp, %(batch)s from shortened
