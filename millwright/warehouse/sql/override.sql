-- A correction: of several lines of one key, the last line that has a reading gives it.
-- Afterwards the lines of a key share no reading; lines that give nothing are `overridden`.
with repeated as (
  select local, event_timestamp from staged group by 1, 2 having count(*) > 1
), given as (
  select s.local, s.event_timestamp, s.position, r.key, r.value,
         first_value(s.position) over (partition by s.local, s.event_timestamp, r.key order by s.position desc) as by_position
  from staged s join repeated using (local, event_timestamp), jsonb_each(s.readings) r
), lines as (
  select position,
         jsonb_object_agg(key, value) filter (where by_position = position) as readings,
         max(by_position) as by_position
  from given group by position
), shortened as (
  update staged s set readings = lines.readings from lines
  where s.position = lines.position and lines.readings is not null and s.readings <> lines.readings
), gone as (
  delete from staged s using lines where s.position = lines.position and lines.readings is null
)
insert into overridden (position, by_position)
select position, by_position from lines where readings is null
