-- Rows that the batch corrected are again what they were before it.
with images as (
  delete from warehouse.{history} h using undo_keys k
  where h.series_id = k.series_id and h.event_timestamp = k.event_timestamp and h.replaced_by = %(batch)s
  returning h.*
), restored as (
  update warehouse.{rows} m
  set {values} = i.{values}, batch_id = i.batch_id, position = i.position, sources = i.sources
  from images i where m.series_id = i.series_id and m.event_timestamp = i.event_timestamp
  returning m.series_id, m.event_timestamp
)
insert into undone select series_id, event_timestamp, %(batch)s from restored
