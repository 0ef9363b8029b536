select s.segment as entity_id, p.tile_us, p.tile{partials}
from unnest({segments}::int[], {sizes}::bigint[], {firsts}::bigint[], {ends}::bigint[], {key_arrays})
  as s(segment, tile_us, first_tile, end_tile, {keys})
join {tiles} p on {key_match} and p.tile_us = s.tile_us and p.tile >= s.first_tile and p.tile < s.end_tile
