"""The HTTP API: features to whoever has a key.

Belongs here: FastAPI routes, keys, limits, errors as a client needs them. Does not: reading Redis (online/), Feast.
"""
