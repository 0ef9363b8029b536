"""Millwright, the feature platform for machine data: the domain, usable without Dagster.

Belongs here: the names a notebook needs. Does not: Dagster (platform_assets, resources, sensors).
"""
