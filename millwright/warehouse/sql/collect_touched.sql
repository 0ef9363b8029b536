insert into touched (series_id, day, first, last, lines)
select l.series_id, s.day, s.first, s.last, s.lines
from (
  select local, (event_timestamp at time zone 'UTC')::date as day, min(event_timestamp) as first, max(event_timestamp) as last,
         count(*) as lines
  from staged
  where position not in (select position from pending where verdict in ('duplicate', 'conflict'))
  group by 1, 2
) s join local_series l using (local)
