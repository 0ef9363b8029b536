update features.state set clock = greatest(clock_timestamp(), clock + interval '1 microsecond')
where view_id = %(view_id)s returning clock
