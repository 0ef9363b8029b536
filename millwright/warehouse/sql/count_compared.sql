select (event_timestamp at time zone 'UTC')::date as day,
       count(*) filter (where computed and not same) as inserted,
       count(*) filter (where stored and not same) as superseded,
       count(*) filter (where stored and not computed) as retracted,
       count(*) filter (where same) as unchanged,
       min(event_timestamp) filter (where not same) as first_event,
       max(event_timestamp) filter (where not same) as last_event
from compared group by 1 order by 1
