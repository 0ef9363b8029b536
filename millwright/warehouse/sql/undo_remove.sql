with removed as (
  delete from warehouse.{rows} m using undo_keys k
  where m.series_id = k.series_id and m.event_timestamp = k.event_timestamp and m.batch_id = %(batch)s
  returning m.series_id, m.event_timestamp
)
insert into undone select series_id, event_timestamp, %(batch)s from removed
