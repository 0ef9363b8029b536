-- In key order, as a landing takes them: the two wait for each other and never block each other.
select m.batch_id from warehouse.{rows} m join undo_keys k using (series_id, event_timestamp)
order by m.series_id, m.event_timestamp for update of m
