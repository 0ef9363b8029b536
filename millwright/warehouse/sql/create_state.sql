insert into features.state (view_id, definition_hash) values (%(view_id)s, %(hash)s)
on conflict (view_id) do update set tiles_complete = features.state.tiles_complete and to_regclass(%(tiles)s) is not null
