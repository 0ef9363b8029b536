select s.refresh_watermark >= %(created)s, v.status in ('active', 'deprecated')
from features.state s join catalog.feature_views v using (view_id)
where s.view_id = %(view_id)s and v.status <> 'retired' and exists (
  select from warehouse.changes c where c.batch_id = %(batch_id)s and c.created_timestamp = %(created)s and {reads})
