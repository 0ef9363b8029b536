-- Deployed models and what they predicted.

create table catalog.models (
  model_id text primary key,
  model text not null,
  version int not null,
  status text not null check (status in ('draft', 'active', 'deprecated', 'retired')),
  views text[] not null,
  definition jsonb not null,
  definition_hash text not null,
  description text not null,
  owner text not null,
  tags jsonb not null,
  applied_at timestamptz not null,
  applied_by text not null,
  unique (model, version)
);
create unique index one_active_model on catalog.models (model) where status = 'active';
comment on column catalog.models.views is 'The feature views that it reads.';

create table serving.predictions (
  request_id uuid not null,
  position int not null,
  predicted_at timestamptz not null,
  model_id text not null,
  definition_hash text not null,
  entity jsonb not null,
  status text not null check (status in ('predicted', 'refused')),
  outputs jsonb,
  features jsonb not null,
  reason text not null,
  asked_by text not null,
  primary key (request_id, position)
);
create index predictions_by_model on serving.predictions (model_id, predicted_at);
comment on table serving.predictions is 'One row an entity that was asked for: what the model was given, and what it answered.';
comment on column serving.predictions.features is 'By feature: the value given to the model, how it was read, its event time.';
