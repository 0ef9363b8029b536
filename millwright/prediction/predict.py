"""Predictions: features of entities by one round trip, the model's policy for what is missing or stale, the model, the answer.

Belongs here: what is given to the model and what is answered. Does not: reading Redis (online/read.py), sessions (session.py),
HTTP and the log (serving/).
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal

import numpy as np
import redis
from pydantic import BaseModel, ConfigDict

from millwright.online.read import Column, Status, read
from millwright.online.served import Served, Wanted
from millwright.online.stores import from_micros
from millwright.prediction.served import ModelInput, ServedModel, inputs
from millwright.prediction.session import Session
from millwright.prediction.signature import arrays

REMEMBERED = 10_000
"""Entities that a process remembers the last features of, for models whose policy allows a stale answer."""
_UTC = "+00:00"
_Row = list[tuple[Any, Status, int | None]]


class UsedFeature(BaseModel):
    """What the model was given: the value read, or with `imputed` the declared one; `status` and time are as it was read."""

    model_config = ConfigDict(frozen=True)

    value: Any = None
    status: Status
    event_timestamp: datetime | None = None
    imputed: bool = False


class Prediction(BaseModel):
    """One entity. `outputs` by the model's own names; null where the entity was refused, and `reason` says why. `missing`,
    `stale`: the features that have no value, and those older than their view's TTL."""

    model_config = ConfigDict(frozen=True)

    entity: dict[str, Any]
    status: Literal["predicted", "refused"]
    outputs: dict[str, Any] | None
    reason: str = ""
    missing: list[str] = []
    stale: list[str] = []
    features: dict[str, UsedFeature]


class Predictions(BaseModel):
    """What was asked for, in the order of the entities. `feature_views`: content hash of each version that was read.
    `read_at`: only where Redis did not answer and the model's policy allows it: when the features were read."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    model: str
    model_version: int
    model_id: str
    status: str
    definition_hash: str
    onnx_sha256: str
    feature_views: dict[str, str]
    predicted_at: datetime
    read_at: datetime | None = None
    predictions: list[Prediction]


@dataclass(frozen=True)
class Loaded:
    """A served model with its session."""

    model: ServedModel
    session: Session


@dataclass
class Memory:
    """The features that this process read last, by model and entity: the oldest reads are forgotten."""

    _rows: OrderedDict[tuple[str, str], tuple[datetime, _Row]] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def keep(self, model_id: str, entities: Sequence[Mapping[str, Any]], columns: Sequence[Column], now: datetime) -> None:
        """Remember what was read."""
        rows = zip(*(zip(each.values, each.statuses, each.events, strict=True) for each in columns), strict=True)
        with self._lock:
            for entity, row in zip(entities, rows, strict=True):
                key = model_id, _name(entity)
                self._rows[key] = now, list(row)
                self._rows.move_to_end(key)
            while len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)

    def recall(self, model_id: str, entities: Sequence[Mapping[str, Any]]) -> tuple[list[Column], datetime] | None:
        """Columns as they were read, and when the oldest of them was; None where an entity is not remembered."""
        with self._lock:
            found = [self._rows.get((model_id, _name(entity))) for entity in entities]
        rows = [row for row in found if row is not None]
        if len(rows) < len(entities):
            return None
        columns = [Column(*map(list, zip(*column, strict=True))) for column in zip(*(row for _, row in rows), strict=True)]
        return columns, min(at for at, _ in rows)


def predict(
    client: redis.Redis,
    served: Served,
    loaded: Loaded,
    entities: Sequence[Mapping[str, Any]],
    *,
    project: str,
    now: datetime | None = None,
) -> dict[str, Any]:
    """The fields of a Predictions for these entities, by one round trip to Redis.

    Raises UnknownFeature, BadEntity, Undecodable, redis.RedisError, BadModel.
    """
    now = now or datetime.now(UTC)
    wanted = loaded.model.wanted(served)
    columns = read(client, wanted, entities, project=project, now=now, keep_old=loaded.model.uses_stale)
    return answer(loaded, wanted, entities, columns, now)


def answer(
    loaded: Loaded,
    wanted: Sequence[Wanted],
    entities: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    now: datetime,
    read_at: datetime | None = None,
) -> dict[str, Any]:
    """The fields of a Predictions from features that were read; `read_at`: they are of an earlier read. Raises BadModel."""
    model = loaded.model.definition
    given = _Given(model.on_missing, model.on_stale, model.impute, inputs(wanted), columns, len(entities))
    if read_at is not None:
        given.all_stale()
    rows = given.rows(entities, given.outputs(loaded.session))
    return {
        "request_id": str(uuid.uuid4()),
        "model": model.model,
        "model_version": model.version,
        "model_id": model.id,
        "status": loaded.model.status,
        "definition_hash": loaded.model.definition_hash,
        "onnx_sha256": model.onnx.sha256,
        "feature_views": dict(loaded.model.views),
        "predicted_at": _told(now),
        "read_at": _told(read_at) if read_at else None,
        "predictions": rows,
    }


class _Given:
    """Values by feature, with the policy applied: declared values put in, entities refused with the reason."""

    def __init__(
        self,
        on_missing: str,
        on_stale: str,
        impute: Mapping[str, Any],
        names: Sequence[ModelInput],
        columns: Sequence[Column],
        rows: int,
    ) -> None:
        self._inputs, self._columns, self._count = names, columns, rows
        self._values = [column.values for column in columns]
        self._missing: dict[int, list[str]] = {}
        self._stale: dict[int, list[str]] = {}
        self._imputed: set[tuple[int, int]] = set()
        self._reasons: dict[int, dict[str, list[str]]] = {}
        for place, (name, column) in enumerate(zip(names, columns, strict=True)):
            if column.statuses.count("PRESENT") == rows:
                continue
            values = self._values[place] = list(column.values)
            for row, status in enumerate(column.statuses):
                if status == "PRESENT":
                    continue
                old = status == "OUTSIDE_MAX_AGE"
                (self._stale if old else self._missing).setdefault(row, []).append(name.reference)
                policy = on_stale if old else on_missing
                if policy == "use" and values[row] is not None:
                    continue
                if "impute" in (policy, on_missing if policy == "use" else policy) and name.feature in impute:
                    values[row] = impute[name.feature]
                    self._imputed.add((row, place))
                else:
                    self._reasons.setdefault(row, {}).setdefault(status, []).append(name.reference)

    def all_stale(self) -> None:
        """Every feature is of an earlier read."""
        self._stale = {row: [each.reference for each in self._inputs] for row in range(self._count)}

    def outputs(self, session: Session) -> dict[int, dict[str, Any]]:
        """Outputs by row, of those that are not refused."""
        kept = [row for row in range(self._count) if row not in self._reasons]
        if not kept:
            return {}
        whole = len(kept) == self._count
        columns = self._values if whole else [[values[row] for row in kept] for values in self._values]
        fed = arrays(session.inputs, self._inputs, columns)
        for name, array in fed.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                fits = np.isfinite(array).reshape(len(kept), -1).all(axis=1)
                for row in (kept[place] for place in np.flatnonzero(~fits)):
                    self._reasons[row] = {"too large for 32 bits": [f"a value of {name}"]}
                return self.outputs(session)
        return dict(zip(kept, session.run(fed, len(kept)), strict=True))

    def rows(self, entities: Sequence[Mapping[str, Any]], outputs: Mapping[int, dict[str, Any]]) -> list[dict[str, Any]]:
        """The fields of a Prediction for each entity."""
        times: dict[int, list[str | None]] = {}
        features: list[list[dict[str, Any]]] = []
        for column, values in zip(self._columns, self._values, strict=True):
            stamps = times.get(id(column.events))
            if stamps is None:  # columns of one view share them
                stamps = [None if event is None else _told(from_micros(event)) for event in column.events]
                times[id(column.events)] = stamps
            features.append(
                [
                    {"value": value, "status": status, "event_timestamp": stamp, "imputed": False}
                    for value, status, stamp in zip(values, column.statuses, stamps, strict=True)
                ]
            )
        for row, place in self._imputed:
            features[place][row]["imputed"] = True
        names = [each.reference for each in self._inputs]
        return [
            {
                "entity": dict(entity),
                "status": "refused" if row in self._reasons else "predicted",
                "outputs": outputs.get(row),
                "reason": "; ".join(_said(status, which) for status, which in self._reasons.get(row, {}).items()),
                "missing": self._missing.get(row, []),
                "stale": self._stale.get(row, []),
                "features": {name: column[row] for name, column in zip(names, features, strict=True)},
            }
            for row, entity in enumerate(entities)
        ]


def _said(status: str, names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {status}"


def _name(entity: Mapping[str, Any]) -> str:
    return repr(sorted(entity.items()))


def _told(instant: datetime) -> str:
    return instant.isoformat().replace(_UTC, "Z")
