-- Writes through the API and what it refused.

create table serving.audit (
  audit_id bigint generated always as identity primary key,
  first_at timestamptz not null,
  last_at timestamptz not null,
  requests integer not null check (requests > 0),
  key_id text,
  address text,
  method text not null,
  route text not null,
  status smallint not null,
  error text,
  subject text,
  check (first_at <= last_at)
);
create index audit_last_at on serving.audit (last_at);
comment on table serving.audit is 'Authenticated writes and refusals; nothing of a body, query or header is kept.';
comment on column serving.audit.requests is 'Equal refusals of about a second are one row.';
comment on column serving.audit.route is 'The route''s template, such as /v1/batches/{batch_id}; empty where no route fits.';
comment on column serving.audit.subject is 'What a write made or changed, such as batch 7.';
revoke update on serving.audit from millwright_app;
