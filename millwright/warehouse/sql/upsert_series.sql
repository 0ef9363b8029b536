-- Only what is missing, so that no number is spent on what is there; sorted, so that two landings wait, never block each other.
insert into warehouse.series (relation, entity, keys, sensor_type)
select {relation}, entity, keys, sensor_type from local_series l
where l.series_id is null and not exists (
  select from warehouse.series s where s.relation = {relation} and (s.entity, s.keys, s.sensor_type) = (l.entity, l.keys, l.sensor_type))
order by entity, keys, sensor_type
on conflict do nothing
