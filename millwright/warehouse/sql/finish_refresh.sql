update features.state set refresh_watermark = %(watermark)s, tiles_complete = true where view_id = %(view_id)s
