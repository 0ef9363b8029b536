drop table if exists pg_temp.staged, pg_temp.rejected, pg_temp.local_series, pg_temp.pending, pg_temp.overridden, pg_temp.touched
