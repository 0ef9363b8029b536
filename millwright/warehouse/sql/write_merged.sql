update warehouse.{rows} m
set {values} = p.state, sources = p.sources
from (
  select distinct on (series_id, event_timestamp) series_id, event_timestamp, state, sources
  from pending where verdict in ('loaded', 'corrected')
  order by series_id, event_timestamp, position desc
) p
where m.series_id = p.series_id and m.event_timestamp = p.event_timestamp
