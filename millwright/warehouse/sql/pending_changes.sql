select c.relation, c.keys, c.first, c.last, c.created_timestamp, c.historical
from warehouse.changes c
where {reads} and c.created_timestamp > %(after)s
