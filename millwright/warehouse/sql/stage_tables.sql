-- Temporary tables of landings, once a session; each commit empties them.
create temp table staged (
  position bigint not null,
  local int not null,
  event_timestamp timestamptz not null,
  readings jsonb not null
) on commit delete rows;
create temp table local_series (local int primary key, entity text not null, keys text[] not null, sensor_type text not null, series_id int)
on commit delete rows;

-- Lines that found their key taken: by an earlier batch, or by an earlier line of the same delivery.
create temp table pending (
  position bigint primary key,
  series_id int not null,
  event_timestamp timestamptz not null,
  readings jsonb not null,
  state jsonb not null,
  of_batch bigint not null,
  of_position bigint not null,
  sources jsonb,
  verdict text
) on commit delete rows;
create temp table overridden (position bigint primary key, by_position bigint not null) on commit delete rows;
create temp table touched (
  series_id int not null,
  day date not null,
  first timestamptz not null,
  last timestamptz not null,
  lines bigint not null
) on commit delete rows
