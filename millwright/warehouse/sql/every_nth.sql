select event_timestamp from (
  select event_timestamp, row_number() over (order by event_timestamp) as number from warehouse.{rows}
  where series_id = any(%(series)s) and event_timestamp >= %(first)s and event_timestamp < %(end)s
) n where number %% %(n)s = 0 order by event_timestamp
