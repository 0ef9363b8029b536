-- Whether a change c is one of rows that a view reads: of its source, or of a kind of event that one of its features is about.
c.entity = %(entity)s and (
  c.relation = %(relation)s and (%(sensor_type)s::text is null or c.sensor_type = %(sensor_type)s)
  or c.relation = 'events' and c.sensor_type = any(%(kinds)s::text[]))
