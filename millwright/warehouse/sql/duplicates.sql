select batch, count(*), min(position), (array_agg(of_position order by position))[1]
from (
  select of_batch as batch, position, of_position from pending where verdict = 'duplicate'
  union all
  select %(batch)s, position, by_position from overridden
) d(batch, position, of_position)
group by batch
order by batch
