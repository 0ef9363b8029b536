-- Three targets, one loader: events and feature sets get rows of the shape of measurements. Undo and repair get what they look up.

alter table warehouse.series add relation text not null default 'measurements'
  check (relation in ('measurements', 'events', 'feature_sets'));
alter table warehouse.series drop constraint series_entity_keys_sensor_type_key;
alter table warehouse.series add unique (entity, keys, sensor_type, relation);
comment on column warehouse.series.relation is 'Which rows it is a series of; numbers are given once over all three.';
comment on column warehouse.series.sensor_type is 'Sensor type of measurements, kind of events, dataset of feature sets.';

-- The table `events` of 0001 was never written; its name goes to the view that reads as it did.
drop table warehouse.events;

create table warehouse.event_rows (
  series_id int not null,
  event_timestamp timestamptz not null,
  attributes jsonb not null check (jsonb_typeof(attributes) = 'object'),
  batch_id bigint not null,
  position bigint not null,
  sources jsonb,
  primary key (series_id, event_timestamp)
);
create table warehouse.event_rows_history (
  series_id int not null,
  event_timestamp timestamptz not null,
  attributes jsonb not null,
  batch_id bigint not null,
  position bigint not null,
  sources jsonb,
  replaced_by bigint not null references landing.batches,
  primary key (series_id, event_timestamp, replaced_by)
);
create view warehouse.events as
select s.entity, s.keys, r.event_timestamp, s.sensor_type as kind, r.attributes, r.batch_id, r.position
from warehouse.event_rows r join warehouse.series s using (series_id);
comment on view warehouse.events is 'Labelled moments: one row an entity, event timestamp and kind.';

create table warehouse.feature_set_rows (
  series_id int not null,
  event_timestamp timestamptz not null,
  features jsonb not null check (jsonb_typeof(features) = 'object'),
  batch_id bigint not null,
  position bigint not null,
  sources jsonb,
  primary key (series_id, event_timestamp)
);
create table warehouse.feature_set_rows_history (
  series_id int not null,
  event_timestamp timestamptz not null,
  features jsonb not null,
  batch_id bigint not null,
  position bigint not null,
  sources jsonb,
  replaced_by bigint not null references landing.batches,
  primary key (series_id, event_timestamp, replaced_by)
);
create view warehouse.feature_sets as
select s.entity, s.keys, r.event_timestamp, s.sensor_type as dataset, r.features, r.batch_id, r.position
from warehouse.feature_set_rows r join warehouse.series s using (series_id);
comment on view warehouse.feature_sets is 'Uploaded features: one row an entity, event timestamp and dataset.';

alter table warehouse.changes drop constraint changes_relation_check;
alter table warehouse.changes add constraint changes_relation_check check (relation in ('measurements', 'events', 'feature_sets'));

alter table landing.batches add undone_timestamp timestamptz,
  add constraint undone_has_a_time check (state <> 'undone' or undone_timestamp is not null);
comment on column landing.batches.undone_timestamp is 'Clock of the commit that took its rows out again.';
create index quarantine_by_repair on landing.quarantine (repaired_by) where repaired_by is not null;
create index met_by_earlier on landing.met (earlier);
