"""Features: from changed warehouse rows to typed, versioned feature rows.

Belongs here: aggregates, windows, tiles, refresh. Does not: SQL on Postgres (warehouse/), Redis, Feast, Dagster.
"""
