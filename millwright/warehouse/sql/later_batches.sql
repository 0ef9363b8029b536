-- The landed batches that met rows of a batch, those that met theirs, and so on; newest first, the batch itself last.
with recursive later(batch_id) as (
  select %(batch)s::bigint
  union
  select m.batch_id from later l join landing.met m on m.earlier = l.batch_id
  join landing.batches b on b.batch_id = m.batch_id and b.state = 'landed'
)
select batch_id from later join landing.batches using (batch_id) order by created_timestamp desc, batch_id desc
