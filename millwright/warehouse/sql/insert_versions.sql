insert into {history} ({keys}, event_timestamp, created_timestamp, known_timestamp, {feature_names})
select {segment_keys}, n.event_timestamp, %(created)s, coalesce(greatest(n.known_timestamp, d.known_before), %(created)s), {staged_features}
from compared d
join recomputed n on n.entity_id = d.segment and n.event_timestamp = d.event_timestamp
join refreshed s on s.segment = d.segment
where d.computed and not d.same
order by d.segment, n.event_timestamp
