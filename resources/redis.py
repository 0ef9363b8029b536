"""The online store as a resource.

Belongs here: opening a client. Does not: keys and bytes (millwright/online/).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from millwright.online import connect
from resources.located import Located


class RedisResource(Located):
    """Redis or Valkey: `with online.connect() as client`."""

    @contextmanager
    def connect(self) -> Iterator[redis.Redis]:
        """A client that is closed at the end. Raises NotConfigured; redis.ConnectionError at its first command."""
        client = connect.client(self.settings().require("redis_url"))
        try:
            yield client
        finally:
            client.close()
