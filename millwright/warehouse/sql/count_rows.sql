select s.segment, count(*)
from unnest(%(segments)s::int[], %(series)s::int[], %(firsts)s::timestamptz[], %(ends)s::timestamptz[])
  as s(segment, series_id, first_event, end_event)
join warehouse.{rows} m
  on m.series_id = s.series_id and m.event_timestamp >= s.first_event and m.event_timestamp < s.end_event
where m.event_timestamp >= %(first)s and m.event_timestamp < %(end)s
group by s.segment
