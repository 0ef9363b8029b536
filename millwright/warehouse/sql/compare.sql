insert into compared
with stored as (
  select s.segment, h.*
  from refreshed s
  join {history} h on {key_match} and h.event_timestamp >= s.first_event and h.event_timestamp < s.end_event
  where h.superseded_timestamp = 'infinity'
)
select coalesce(n.entity_id, c.segment), coalesce(n.event_timestamp, c.event_timestamp),
       n.entity_id is not null, c.segment is not null,
       n.entity_id is not null and c.segment is not null and {same}, c.known_timestamp
from recomputed n full join stored c on c.segment = n.entity_id and c.event_timestamp = n.event_timestamp
