select s.refresh_watermark < any (
  select c.created_timestamp from warehouse.changes c where {reads} and c.created_timestamp > s.refresh_watermark
)
from features.state s join catalog.feature_views v using (view_id)
where s.view_id = %(view_id)s and v.status <> 'retired'
