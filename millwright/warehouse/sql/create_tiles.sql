create table if not exists {tiles} (
  {tile_key_columns},
  tile_us bigint not null,
  tile bigint not null{partial_columns},
  primary key ({tile_keys}, tile_us, tile)
);
comment on table {tiles} is 'A private cache: partial aggregates of whole tiles, a pure function of warehouse rows. features.state says whether it may be believed.';
