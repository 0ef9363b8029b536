select s.definition_hash, s.refresh_watermark, s.tiles_complete, k.last, c.sql
from features.state s
join catalog.compiled c on c.view_id = s.view_id and c.dialect = 'duckdb'
cross join warehouse.clock k
where s.view_id = %(view_id)s
