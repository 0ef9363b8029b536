"""What is told when Redis fails in the middle of a publish: what was wrong, what was kept, what to do next.

Belongs here: the sentences. Does not: when to try again (publish.py).
"""

from __future__ import annotations

import redis

from millwright.online.outcomes import Written

_ADVICE: list[tuple[type[redis.RedisError], str]] = [
    (redis.OutOfMemoryError, "Redis is full: give it more memory (maxmemory), or retire a view that nobody reads."),
    (redis.exceptions.NoPermissionError, "The Redis user lacks a right: docs/redis.md lists what the writer needs."),
    (redis.AuthenticationError, "Look at the user and password in MILLWRIGHT_REDIS_URL."),
    (redis.ReadOnlyError, "This server is a replica: point MILLWRIGHT_REDIS_URL at the primary, or at its Sentinels."),
    (redis.TimeoutError, "Redis is there and too slow, or the network is."),
    (redis.ConnectionError, "Is Redis running? `millwright status` asks it."),
]


def told(error: redis.RedisError, view_id: str, written: Written) -> redis.RedisError:
    """An error of the same kind for the person who gets it."""
    kind, advice = next(((kind, text) for kind, text in _ADVICE if isinstance(error, kind)), (redis.ResponseError, ""))
    sent = written.written + written.equal + written.removed
    return kind(
        f"{str(error).rstrip('.')}. {advice}{' ' if advice else ''}{sent} entities of {view_id} were confirmed before that and "
        "stay; none is counted as published, so the next publish sends all of them again."
    )
