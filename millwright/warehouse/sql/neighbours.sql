-- The last row before each span and the first at or after its end: one look at an index each, however long ago.
select n.number, max(before.event_timestamp), min(after.event_timestamp)
from unnest(%(numbers)s::int[], %(series)s::int[], %(firsts)s::timestamptz[], %(ends)s::timestamptz[])
  as n(number, series_id, first_event, end_event)
left join lateral (
  select m.event_timestamp from warehouse.{rows} m
  where m.series_id = n.series_id and m.event_timestamp < n.first_event order by m.event_timestamp desc limit 1
) before on true
left join lateral (
  select m.event_timestamp from warehouse.{rows} m
  where m.series_id = n.series_id and m.event_timestamp >= n.end_event order by m.event_timestamp limit 1
) after on true
group by n.number
