-- What an undo works on: the keys of every row that it may change, and what it did to which.
create temp table undo_keys (
  series_id int not null, event_timestamp timestamptz not null, primary key (series_id, event_timestamp)
) on commit drop;
create temp table undone (
  series_id int not null, event_timestamp timestamptz not null, batch_id bigint not null
) on commit drop
