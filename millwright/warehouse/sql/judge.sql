-- A key's state only grows unless it is corrected: what is contained in it or contradicts it now always will.
update pending
set verdict = case when state @> readings then 'duplicate' when not %(correction)s then 'conflict' end
where verdict is null and (state @> readings or not (%(correction)s or (readings || state) @> readings))
