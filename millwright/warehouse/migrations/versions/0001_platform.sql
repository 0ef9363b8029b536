-- The platform's tables (DESIGN: landing, warehouse, features, catalog, serving, online).
-- Run by the owner. Each schema is written by one package; roles: app (runs), reader (people).

do $$
declare role text;
begin
  foreach role in array array['millwright_app', 'millwright_reader'] loop
    if not exists (select from pg_roles where rolname = role) then
      execute format('create role %I nologin', role);
    end if;
  end loop;
end $$;

create schema landing;
create schema warehouse;
create schema features;
create schema catalog;
create schema serving;
create schema online;

grant usage on schema landing, warehouse, features, catalog, serving, online to millwright_app;
grant usage on schema warehouse, features, catalog to millwright_reader;
alter default privileges in schema landing, warehouse, features, online
  grant select, insert, update, delete, truncate on tables to millwright_app;
alter default privileges in schema serving grant select, insert, update on tables to millwright_app;
alter default privileges in schema catalog grant select on tables to millwright_app;
alter default privileges in schema warehouse, features, catalog grant select on tables to millwright_reader;

-- ---------------------------------------------------------------- landing

create table landing.topic_partitions (
  topic_partition_id int generated always as identity primary key,
  topic text not null,
  topic_id text not null,
  partition int not null check (partition >= 0),
  unique (topic_id, partition)
);
comment on table landing.topic_partitions is
  'A Kafka partition of one life of a topic (a recreated topic has another topic_id); its row is locked while a range of it lands.';

create table landing.batches (
  batch_id bigint generated always as identity primary key,
  source text not null check (source in ('upload', 'inbox', 'kafka', 'live')),
  dataset text not null,
  file_name text,
  sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
  file_bytes bigint,
  topic_partition_id int references landing.topic_partitions,
  offsets int8range,
  options jsonb not null default '{}',
  settings_hash text not null,
  state text not null default 'planned' check (state in ('planned', 'landing', 'landed', 'refused', 'failed', 'undone')),
  planned_at timestamptz not null default now(),
  planned_by text not null,
  plan text,
  plan_attempt int not null default 0,
  attempts int not null default 0,
  run_id text,
  finished_at timestamptz,
  created_timestamp timestamptz,
  received bigint,
  loaded bigint,
  corrected bigint,
  deleted bigint,
  duplicate bigint,
  quarantined bigint,
  first_event timestamptz,
  last_event timestamptz,
  days date[] not null default '{}',
  error text,
  report jsonb not null default '{}',
  constraint one_source check (
    case when source in ('upload', 'inbox')
      then sha256 is not null and file_name is not null and file_bytes is not null and topic_partition_id is null and offsets is null
      else sha256 is null and file_name is null and file_bytes is null and topic_partition_id is not null and not isempty(offsets)
    end),
  constraint every_row_accounted_for check (
    state not in ('landed', 'undone')
    or (received = loaded + corrected + deleted + duplicate + quarantined) is true),
  constraint landed_has_a_time check (state not in ('landed', 'undone') or created_timestamp is not null),
  -- int4range on the partition's id, so that plain GiST serves: btree_gist is not everywhere.
  constraint no_offset_twice exclude using gist (
    int4range(topic_partition_id, topic_partition_id, '[]') with &&, offsets with &&) where (topic_partition_id is not null)
);
comment on table landing.batches is 'The only ledger and the only plan: one row a delivery.';
comment on column landing.batches.settings_hash is 'SHA-256 of mapping, rules and mode as they were when it was received (once landed: as it was landed).';
comment on column landing.batches.created_timestamp is 'Clock of the commit that landed it (warehouse.clock).';
create unique index batches_landed_once on landing.batches (dataset, sha256, settings_hash) where state = 'landed' and sha256 is not null;
create index batches_waiting on landing.batches (batch_id) where state in ('planned', 'landing', 'failed');

create table landing.quarantine (
  batch_id bigint not null references landing.batches,
  position bigint not null,
  original bytea not null,
  errors jsonb not null,
  repaired_by bigint references landing.batches,
  primary key (batch_id, position)
);
comment on column landing.quarantine.position is 'Line of the file (the header is line 1) or Kafka offset.';
comment on column landing.quarantine.errors is '[{"column", "code", "message"}], every failing cell.';

create table landing.met (
  batch_id bigint not null references landing.batches,
  earlier bigint not null references landing.batches,
  primary key (batch_id, earlier)
);
comment on table landing.met is 'Which batches met keys of which earlier ones: what an undo has to look at.';

-- -------------------------------------------------------------- warehouse

create table warehouse.clock (
  only_row boolean primary key default true check (only_row),
  last timestamptz not null default 'epoch'
);
insert into warehouse.clock default values;
comment on table warehouse.clock is 'created_timestamp is given out by updating this row as the last but one statement of a transaction: order of commit = order of time.';

create table warehouse.series (
  series_id int generated always as identity primary key,
  entity text not null,
  keys text[] not null,
  sensor_type text not null,
  unique (entity, keys, sensor_type)
);
comment on column warehouse.series.keys is 'Join key values in the order of the sorted join key names.';

create table warehouse.measurements (
  series_id int not null,
  event_timestamp timestamptz not null,
  readings jsonb not null check (jsonb_typeof(readings) = 'object'),
  batch_id bigint not null,
  position bigint not null,
  sources jsonb,
  primary key (series_id, event_timestamp)
) partition by range (event_timestamp);
comment on column warehouse.measurements.sources is 'Readings that came later: {"reading": [batch_id, position]}; null when all came with batch_id, position.';

create table warehouse.measurements_history (
  series_id int not null,
  event_timestamp timestamptz not null,
  readings jsonb not null,
  batch_id bigint not null,
  position bigint not null,
  sources jsonb,
  replaced_by bigint not null references landing.batches,
  primary key (series_id, event_timestamp, replaced_by)
);
comment on table warehouse.measurements_history is 'Rows as they were before a correction (replaced_by) changed them.';

create table warehouse.events (
  entity text not null,
  keys text[] not null,
  event_timestamp timestamptz not null,
  kind text not null,
  attributes jsonb not null default '{}',
  batch_id bigint not null references landing.batches,
  position bigint not null,
  primary key (entity, keys, event_timestamp, kind)
);

create table warehouse.changes (
  created_timestamp timestamptz not null,
  batch_id bigint not null references landing.batches,
  relation text not null check (relation in ('measurements', 'events')),
  entity text not null,
  keys text[] not null,
  sensor_type text not null default '',
  first timestamptz not null,
  last timestamptz not null,
  historical boolean not null default false,
  check (first <= last)
);
create index changes_by_time on warehouse.changes (created_timestamp);
comment on table warehouse.changes is 'Append-only: what changed, one row a batch, entity, sensor type and UTC day. The last statement before a landing commits.';

-- Months are made before the landing that needs them begins, by ATTACH, which waits for no landing.
create function warehouse.ensure_months(first date, last date) returns int
language plpgsql security definer set search_path = pg_catalog as $$
declare
  month date := date_trunc('month', first)::date;
  name text;
  made int := 0;
begin
  perform pg_advisory_xact_lock(hashtextextended('warehouse.ensure_months', 0));
  while month <= last loop
    name := 'measurements_' || to_char(month, 'YYYYMM');
    if to_regclass(format('warehouse.%I', name)) is null then
      execute format('create table warehouse.%I (like warehouse.measurements including all)', name);
      execute format('alter table warehouse.measurements attach partition warehouse.%I for values from (%L) to (%L)', name,
                     month::timestamp at time zone 'UTC', (month + interval '1 month')::timestamp at time zone 'UTC');
      made := made + 1;
    end if;
    month := (month + interval '1 month')::date;
  end loop;
  return made;
end $$;
revoke execute on function warehouse.ensure_months from public;
grant execute on function warehouse.ensure_months to millwright_app;

-- --------------------------------------------------------------- features

create table features.state (
  view_id text primary key,
  definition_hash text not null,
  clock timestamptz not null default 'epoch',
  refresh_watermark timestamptz not null default 'epoch',
  tiles_complete boolean not null default false
);
comment on table features.state is 'One row a view version; features.<view_id>_history and _tiles are made with it by apply.';
comment on column features.state.clock is 'The view''s own commit clock: created and superseded timestamps of its rows.';
comment on column features.state.refresh_watermark is 'Changes up to and including this time are in the rows.';
comment on column features.state.tiles_complete is 'False: the tile cache is not to be believed and is rebuilt by the next refresh.';

-- ---------------------------------------------------------------- catalog

create table catalog.entities (
  entity text primary key,
  join_keys jsonb not null,
  description text not null,
  owner text not null,
  applied_at timestamptz not null,
  applied_by text not null
);

create table catalog.feature_views (
  view_id text primary key,
  feature_view text not null,
  version int not null,
  entity text not null references catalog.entities,
  status text not null check (status in ('draft', 'active', 'deprecated', 'retired')),
  definition jsonb not null,
  definition_hash text not null,
  ttl interval not null,
  description text not null,
  owner text not null,
  tags jsonb not null,
  applied_at timestamptz not null,
  applied_by text not null,
  unique (feature_view, version)
);
create unique index one_active_version on catalog.feature_views (feature_view) where status = 'active';

create table catalog.features (
  view_id text not null references catalog.feature_views on delete cascade,
  name text not null,
  position int not null,
  type text not null,
  unit text not null,
  description text not null,
  definition jsonb not null,
  primary key (view_id, name)
);

create table catalog.compiled (
  view_id text not null references catalog.feature_views on delete cascade,
  dialect text not null,
  sql text not null,
  primary key (view_id, dialect)
);
comment on table catalog.compiled is 'The view''s computation as compiled by apply: a refresh runs it and imports no compiler.';

-- ---------------------------------------------------------------- serving

create table serving.keys (
  key_id text primary key,
  sha256 text not null unique check (sha256 ~ '^[0-9a-f]{64}$'),
  name text not null,
  scopes text[] not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
comment on table serving.keys is 'API keys; only the SHA-256 of a key is kept.';

-- ----------------------------------------------------------------- online

create table online.publications (
  view_id text not null,
  store_id text not null,
  watermark timestamptz not null,
  published_at timestamptz not null default now(),
  primary key (view_id, store_id)
);
comment on column online.publications.store_id is 'Identity kept inside the Redis itself: an emptied server is a new store and is filled whole.';
comment on column online.publications.watermark is 'Feature rows created or superseded up to this time (the view''s clock) are in the store.';
