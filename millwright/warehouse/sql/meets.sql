-- Which spans of series have a row. LIMIT keeps the planner from reading the whole table once instead of the index once a span.
select span.number
from unnest(%(series)s::int[], %(first)s::bigint[], %(last)s::bigint[])
  with ordinality as span(series_id, first, last, number)
cross join lateral (
  select from warehouse.{rows} m
  where m.series_id = span.series_id
    and m.event_timestamp between 'epoch'::timestamptz + span.first * interval '1 microsecond'
                              and 'epoch'::timestamptz + span.last * interval '1 microsecond'
    and m.event_timestamp between %(from)s and %(to)s
  limit 1
) m
