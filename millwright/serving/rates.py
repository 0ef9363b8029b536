"""How many requests a key may make in a minute, over all workers.

Belongs here: counting. Does not: whose key it is (access.py), the answer (problems.py).

The count is a sliding window of `limits` in Redis, which all workers share. A worker takes a hundredth of the limit at once and
lets that many requests pass without asking again, for two seconds; while Redis is away each worker counts in its own memory.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import redis
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.cluster import RedisCluster

_PREFIX = "millwright:rate"
_LEASE_SECONDS = 2.0
_AWAY_SECONDS = 5.0
_MAX_KEYS = 10_000


@dataclass
class _Lease:
    left: int
    until: float
    retry_after: int = 0


class Rates:
    """The limit of every key: `per_minute` requests."""

    def __init__(self, client: redis.Redis | RedisCluster, per_minute: int) -> None:
        self._client = client
        self._item = RateLimitItemPerMinute(per_minute)
        self._share = max(1, per_minute // 100)
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._leases: dict[str, _Lease] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def admit(self, key_id: str) -> int:
        """0, or the seconds after which to come again."""
        lease = self._leases.get(key_id)
        if lease is None or lease.until < time.monotonic() or (not lease.left and not lease.retry_after):
            lease = await self._renewed(key_id, lease)
        if lease.retry_after:
            return lease.retry_after
        lease.left -= 1
        return 0

    async def _renewed(self, key_id: str, old: _Lease | None) -> _Lease:
        async with self._locks.setdefault(key_id, asyncio.Lock()):
            lease = self._leases.get(key_id)
            if lease is not None and lease is not old and (lease.left or lease.retry_after):
                return lease  # another request has just asked
            if len(self._leases) >= _MAX_KEYS:
                self._leases.clear()
                self._locks.clear()
            self._leases[key_id] = lease = await asyncio.to_thread(self._taken, key_id)
            return lease

    def _taken(self, key_id: str) -> _Lease:
        if time.monotonic() >= self._away_until:
            try:
                return self._take(self._strategy(), key_id)
            except redis.RedisError:
                self._away_until = time.monotonic() + _AWAY_SECONDS
        return self._take(self._own, key_id)

    def _strategy(self) -> SlidingWindowCounterRateLimiter:
        if self._shared is None:
            storage: Storage
            if isinstance(self._client, RedisCluster):
                storage = MemoryStorage()
            else:
                storage = RedisStorage("redis://", connection_pool=self._client.connection_pool, key_prefix=_PREFIX)
            self._shared = SlidingWindowCounterRateLimiter(storage)
        return self._shared

    def _take(self, strategy: SlidingWindowCounterRateLimiter, key_id: str) -> _Lease:
        now = time.monotonic()
        for share in sorted({self._share, 1}, reverse=True):
            if strategy.hit(self._item, key_id, cost=share):
                return _Lease(share, now + _LEASE_SECONDS)
        wait = max(1, min(60, round(strategy.get_window_stats(self._item, key_id).reset_time - time.time())))
        return _Lease(0, now + min(wait, _LEASE_SECONDS), wait)
