create table if not exists {history} (
  {key_columns},
  event_timestamp timestamptz not null,
  created_timestamp timestamptz not null,
  superseded_timestamp timestamptz not null default 'infinity',
  known_timestamp timestamptz not null,
  {feature_columns},
  primary key ({keys}, event_timestamp, created_timestamp),
  check (created_timestamp < superseded_timestamp)
);
create unique index if not exists {index_current} on {history} ({keys}, event_timestamp desc) where superseded_timestamp = 'infinity';
create index if not exists {index_created} on {history} (created_timestamp);
create index if not exists {index_superseded} on {history} (superseded_timestamp) where superseded_timestamp < 'infinity';
create or replace view {current} as
select {keys}, event_timestamp, created_timestamp, known_timestamp, {feature_names}
from {history} where superseded_timestamp = 'infinity';
