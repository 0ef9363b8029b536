"""The warehouse: all SQL on the schemas landing, warehouse and features.

Belongs here: migrations, the commit clock and change log, bulk copy, reads of measurements, tables of views.
Does not: what a row means (landing/), what a feature is (features/), Redis, Feast, Dagster.
"""
