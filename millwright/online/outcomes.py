"""What became of rows sent to Redis. Belongs here: the counts. Does not: sending."""

from __future__ import annotations

from dataclasses import dataclass

OLDER, WRITTEN, EQUAL, REMOVED = 0, 1, 2, 3


@dataclass(frozen=True)
class Written:
    """What became of the rows sent: written, refused as older, equal (the same snapshot again), removed; and the bytes sent."""

    written: int = 0
    older: int = 0
    equal: int = 0
    removed: int = 0
    bytes: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.written + other.written,
            self.older + other.older,
            self.equal + other.equal,
            self.removed + other.removed,
            self.bytes + other.bytes,
        )
