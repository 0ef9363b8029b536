create temp table refreshed (segment int primary key, {key_columns}, first_event timestamptz not null, end_event timestamptz not null)
on commit drop;
create temp table recomputed (
  entity_id int not null, event_timestamp timestamptz not null, known_timestamp timestamptz, {feature_columns}{tolerance_columns}
) on commit drop;
create temp table compared (
  segment int not null, event_timestamp timestamptz not null, computed boolean not null, stored boolean not null, same boolean not null,
  known_before timestamptz
) on commit drop;
