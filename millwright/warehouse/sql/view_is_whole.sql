select to_regclass(%(history)s) is not null and to_regclass(%(current)s) is not null and to_regclass(%(tiles)s) is not null
  and exists (select from features.state where view_id = %(view_id)s)
