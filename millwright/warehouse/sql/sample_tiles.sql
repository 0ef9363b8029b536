-- Some tiles at random: pages first, or a large table is read for a few; {percent} of them.
select {keys}, p.tile_us, p.tile
from (select * from {tiles} tablesample system ({percent})) p
order by random()
limit %(limit)s
