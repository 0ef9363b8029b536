select {columns} from {history} where created_timestamp = %(created)s order by event_timestamp limit 10
