"""Models of one column of a feature view, and what the engine computes of it.

Belongs here: what a feature's line may say. Does not: the view around it (models.py), what files must agree on (load.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from millwright.definitions.base import Definition, Name
from millwright.definitions.durations import MICROSECOND, Duration, tile_size

Aggregate = Literal["count", "sum", "mean", "min", "max", "range", "stddev", "first", "last", "slope", "age"]
OF_ANYTHING = frozenset({"count", "first", "last", "age"})
"""Aggregates that need no number."""
OF_EVENTS: tuple[Aggregate, ...] = ("count", "age")
"""Aggregates that need no value."""
LONGEST = timedelta(days=3660)
"""A window beyond it is a slip of the pen."""


@dataclass(frozen=True)
class Windowed:
    """An aggregate over a window of `window_us` microseconds: of a reading, or of a kind of event."""

    name: str
    aggregate: Aggregate
    of: str
    relation: str
    window_us: int

    @property
    def tile_us(self) -> int:
        """Tile size h(W) in microseconds."""
        return tile_size(timedelta(microseconds=self.window_us))

    @property
    def input(self) -> str:
        """What it is an aggregate of, in the engine's columns. A kind cannot meet a reading: no name has a colon."""
        return self.of if self.relation == "measurements" else f"{self.relation}:{self.of}"


class Feature(Definition):
    """One column of a feature view: an aggregate of a reading over a window that ends at the row's time.

    With `from: events`, `of` is a kind of event: how many there were, or the seconds since the last one. A column of an uploaded
    feature set has neither aggregate nor window; `of` names it where the feature is called otherwise. An `expression` is computed
    from other features of the same row.
    """

    model_config = ConfigDict(
        serialize_by_alias=True,
        json_schema_extra={
            "dependentRequired": {
                "aggregate": ["of", "window"],
                "window": ["aggregate", "of"],
                "from": ["aggregate"],
                "unit": ["expression"],
            }
        },
    )

    name: Name
    aggregate: Aggregate | None = None
    of: Name | None = None
    relation: Literal["measurements", "events"] = Field(default="measurements", alias="from")
    window: Duration | None = None
    expression: str | None = Field(default=None, description="Of other features of the view, such as a / nullif(b, 0).")
    unit: str | None = Field(default=None, description="Of an expression whose unit does not follow from its features'.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.expression is not None:
            given = [name for name in ("aggregate", "of", "window") if getattr(self, name) is not None]
            if given or self.relation != "measurements":
                raise ValueError(f"an expression stands for itself: leave out {' and '.join(given or ['from'])}")
            return self
        if self.unit is not None:
            raise ValueError("unit is an expression's; an aggregate has its reading's")
        if self.aggregate is None and self.window is None:
            if self.relation == "events":
                raise ValueError("from: events needs aggregate, of and window")
            return self
        if missing := [name for name in ("aggregate", "of", "window") if getattr(self, name) is None]:
            raise ValueError(f"an aggregate over a window needs {' and '.join(missing)} too")
        assert self.aggregate and self.window
        size = tile_size(self.window)
        if (self.window // MICROSECOND) % size:
            raise ValueError(f"window must be a multiple of its tile size, {timedelta(microseconds=size)}")
        if self.window > LONGEST:
            raise ValueError(f"window must be at most {LONGEST.days}d")
        if self.relation == "events" and self.aggregate not in OF_EVENTS:
            raise ValueError(
                f"an event has no value to aggregate: from: events takes {' or '.join(OF_EVENTS)}, got {self.aggregate}"
            )
        return self

    @property
    def windowed(self) -> Windowed | None:
        """As the engine computes it; None where it is no aggregate over a window."""
        if self.aggregate is None or self.of is None or self.window is None:
            return None
        return Windowed(self.name, self.aggregate, self.of, self.relation, self.window // MICROSECOND)

    @property
    def column(self) -> str | None:
        """The column of a feature set that it is; None where it is an aggregate or an expression."""
        return (self.of or self.name) if self.aggregate is None and self.expression is None else None
