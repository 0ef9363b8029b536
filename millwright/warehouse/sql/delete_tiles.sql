delete from {tiles} p
using unnest({sizes}::bigint[], {firsts}::bigint[], {ends}::bigint[], {key_arrays}) as s(tile_us, first_tile, end_tile, {keys})
where {key_match} and p.tile_us = s.tile_us and p.tile >= s.first_tile and p.tile < s.end_tile
