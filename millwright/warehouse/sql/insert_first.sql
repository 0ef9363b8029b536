-- The first line of each key, where nobody holds the key; in key order, for the same reason as in upsert_series.
insert into warehouse.{rows} (series_id, event_timestamp, {values}, batch_id, position)
select distinct on (l.series_id, s.event_timestamp)
       l.series_id, s.event_timestamp, s.readings, %(batch)s, s.position
from staged s join local_series l using (local)
order by l.series_id, s.event_timestamp, s.position
on conflict (series_id, event_timestamp) do nothing
