insert into landing.quarantine (batch_id, position, original, errors)
select %(batch)s, position, original, errors from rejected
