"""Connections as Dagster resources: postgres, redis, kafka, feature_store.

Belongs here: where a store is, and opening it. Does not: what is done with it. Addresses and passwords come from
`millwright.settings` when a connection is opened; run configuration holds folders only, never a secret.
"""

from resources.feature_store import FeatureStoreResource
from resources.kafka import KafkaResource
from resources.located import Located
from resources.postgres import PostgresResource
from resources.redis import RedisResource

__all__ = ["FeatureStoreResource", "KafkaResource", "Located", "PostgresResource", "RedisResource"]
