-- From the table, not by name: a name that was not there stays unknown to the session for a while.
select month from unnest(%s::date[]) month
where not exists (
  select from pg_class
  where relnamespace = 'warehouse'::regnamespace and relname = 'measurements_' || to_char(month, 'YYYYMM'))
