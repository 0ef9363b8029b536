update {history} h set superseded_timestamp = %(created)s
from compared d join refreshed s on s.segment = d.segment
where d.stored and not d.same
  and {key_match} and h.event_timestamp = d.event_timestamp and h.superseded_timestamp = 'infinity'
