-- Temporary tables of one landing. They are filled before its transaction begins, so that its locks are short.
drop table if exists pg_temp.staged, pg_temp.rejected, pg_temp.local_series, pg_temp.pending, pg_temp.overridden, pg_temp.touched;

create temp table staged (
  position bigint not null,
  local int not null,
  event_timestamp timestamptz not null,
  readings jsonb not null
);
create temp table rejected (position bigint not null, original bytea not null, errors jsonb not null);
create temp table local_series (local int primary key, entity text not null, keys text[] not null, sensor_type text not null, series_id int);

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
);
create temp table overridden (position bigint primary key, by_position bigint not null);
create temp table touched (
  entity text not null,
  keys text[] not null,
  sensor_type text not null,
  day date not null,
  first timestamptz not null,
  last timestamptz not null,
  lines bigint not null
)
