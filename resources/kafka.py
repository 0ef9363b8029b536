"""Kafka as a resource.

Belongs here: its address. Does not: consuming (millwright/landing/kafka.py).
"""

from __future__ import annotations

from resources.located import Located


class KafkaResource(Located):
    """The brokers of the defined topics."""

    def bootstrap(self) -> str | None:
        """host:port[,host:port], None when no Kafka is configured."""
        return self.settings().kafka_bootstrap
