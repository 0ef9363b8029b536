"""Why a feature has its value: the row, its window, every delivery in it, down to the bytes of a line.

Belongs here: putting together what the stores say. Does not: computing a value (features/), SQL, files (landing/).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import redis
from psycopg import sql
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions, FeatureView
from millwright.definitions.durations import format_duration
from millwright.definitions.expressions import parse
from millwright.definitions.features import Feature, Windowed
from millwright.definitions.partials import partials
from millwright.definitions.words import nearest
from millwright.features.chunk import TOLERANCE
from millwright.features.compute import engine, no_tiles
from millwright.features.touched import Reach
from millwright.features.windows import compile_view
from millwright.landing import origins
from millwright.landing.rows import Unavailable
from millwright.online.read import FeatureValue, read_online
from millwright.settings import Settings
from millwright.warehouse import ledger, windows
from millwright.warehouse.connect import snapshot
from millwright.warehouse.copy import arrow_reader
from millwright.warehouse.read import Series, Stretch, read_events, series_of
from millwright.warehouse.relations import Relation
from millwright.warehouse.tables import ViewTables
from millwright.warehouse.timestamps import from_us, to_us

_LINE_BYTES = 300


class Origin(BaseModel):
    """A row of the window (newest first), its value, and where it came from. `line`: what was delivered, cut to a few hundred
    bytes; None where `lost` says why it is not shown. `replaced_by`: the batch that corrected it."""

    model_config = ConfigDict(frozen=True)

    event_timestamp: datetime
    sensor_type: str
    value: Any
    batch_id: int
    position: int
    replaced_by: int | None = None
    line: str | None = None
    lost: str | None = None


class Delivery(BaseModel):
    """A batch with rows in the window. `name`: the file, or topic[partition]; `quarantined`: lines of it that are set aside."""

    model_config = ConfigDict(frozen=True)

    batch_id: int
    rows: int
    name: str
    by: str
    created_timestamp: datetime | None
    run_id: str | None
    quarantined: int


class Why(BaseModel):
    """A feature's value of one entity, and what it is made of. Times are UTC.

    `value`: offline, of the row at `event_timestamp`, which was created and known (all that it takes in had landed) at these
    times. `made_of`: of an expression, the features that it uses, of which each may be asked for in its turn. `online`: what
    the online store serves now, only where the newest row is asked for. `recomputed`: by the engine from the rows of the
    window [window_begin, event_timestamp] alone; `agrees`: within the feature's tolerance (I5). `rows`: those of the window
    with a value; `without`: those that lack it; `origins`: the newest of those with it; `replaced`: values that corrections
    took out; `deliveries`: all batches that gave values.
    """

    model_config = ConfigDict(frozen=True)

    view_id: str
    feature: str
    definition: str
    definition_hash: str
    entity: dict[str, Any]
    event_timestamp: datetime
    created_timestamp: datetime
    known_timestamp: datetime | None
    value: Any
    made_of: dict[str, Any] = {}
    online: FeatureValue | None = None
    recomputed: Any = None
    agrees: bool = True
    window_begin: datetime | None = None
    rows: int = 0
    without: int = 0
    origins: list[Origin] = []
    replaced: list[Origin] = []
    deliveries: list[Delivery] = []


class NothingToExplain(LookupError):
    """No such feature, or no row of the entity at that time."""


def why(
    conn: psycopg.Connection[Any],
    client: redis.Redis | None,
    settings: Settings,
    definitions: Definitions,
    view: FeatureView,
    feature: str,
    entity: Mapping[str, Any],
    *,
    at: datetime | None = None,
    shown: int = 10,
) -> Why:
    """Explain a feature of the entity's newest row, or of its newest row not after `at`.

    `entity`: value by join key. `client`: the online store, or None. `shown`: so many rows are traced to their lines.
    `conn`: autocommit, outside a transaction; one snapshot is read. Raises NothingToExplain, psycopg.Error, redis.RedisError.
    """
    with snapshot(conn):
        return _Why(conn, settings, definitions, view, feature, entity).told(client, at, shown)


class _Why:
    def __init__(
        self,
        conn: psycopg.Connection[Any],
        settings: Settings,
        definitions: Definitions,
        view: FeatureView,
        feature: str,
        entity: Mapping[str, Any],
    ) -> None:
        named = {one.name: one for one in view.features}
        if feature not in named:
            raise NothingToExplain(f"{view.id} has no feature {feature}{nearest(feature, named)}.")
        self._conn, self._settings, self._definitions, self._view = conn, settings, definitions, view
        self._tables = ViewTables(definitions, view)
        if missing := [name for name in self._tables.keys if name not in entity]:
            raise NothingToExplain(f"Name the entity: {' '.join(f'{name}=…' for name in missing)}.")
        self._feature, self._entity = named[feature], {name: entity[name] for name in self._tables.keys}
        self._needed = {one.name: one for one in view.features if one.name in _needed(named, feature)}
        self._batches: dict[int, ledger.Batch] = {}

    def told(self, client: redis.Redis | None, at: datetime | None, shown: int) -> Why:
        event, created, known, stored = self._row(at)
        recomputed = self._recomputed(event)
        made_of = {name: stored[name] for name in self._needed if name != self._feature.name}
        agree = [
            _agree(stored[one.name], recomputed.get(one.name), recomputed.get(f"{TOLERANCE}{one.name}") or 0.0)
            for one in self._needed.values()
            if one.expression is None
        ]
        return Why.model_validate(
            {
                "view_id": self._view.id,
                "feature": self._feature.name,
                "definition": _definition(self._feature),
                "definition_hash": self._view.content_hash(),
                "entity": self._entity,
                "event_timestamp": event,
                "created_timestamp": created,
                "known_timestamp": known,
                "value": stored[self._feature.name],
                "made_of": made_of,
                "online": self._online(client) if client is not None and at is None else None,
                "recomputed": recomputed.get(self._feature.name),
                "agrees": all(agree),
            }
            | (self._traced(event, shown) if self._feature.expression is None else {})
        )

    def _traced(self, event: datetime, shown: int) -> dict[str, Any]:
        window = self._window(event)
        counted = windows.counts(self._conn, window)
        return {
            "window_begin": window.first,
            "rows": sum(count for batch, count in counted.items() if batch is not None),
            "without": counted.get(None, 0),
            "origins": self._origins(windows.values(self._conn, window, shown)),
            "replaced": self._origins(windows.replaced(self._conn, window, shown)),
            "deliveries": [self._delivery(batch, count) for batch, count in counted.items() if batch is not None],
        }

    def _row(self, at: datetime | None) -> tuple[datetime, datetime, datetime | None, dict[str, Any]]:
        """Event, created and known time of the row, and its values of what the feature needs."""
        same = sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(n), sql.Literal(v)) for n, v in self._entity.items()
        )
        query = sql.SQL(
            "select event_timestamp, created_timestamp, known_timestamp, {} from {} where {} and event_timestamp <= {}"
            " and superseded_timestamp = 'infinity' order by event_timestamp desc limit 1"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, self._needed)),
            self._tables.history,
            same,
            sql.Literal("infinity" if at is None else at),
        )
        row = self._conn.execute(query).fetchone()
        if row is None:
            whose = " ".join(f"{name}={value}" for name, value in self._entity.items())
            raise NothingToExplain(
                f"{self._view.id} has no row of {whose}{f' at or before {at:%Y-%m-%d %H:%M:%S}' if at else ''}."
            )
        return row[0], row[1], row[2], dict(zip(self._needed, row[3:], strict=True))

    def _online(self, client: redis.Redis) -> FeatureValue:
        reference = f"{self._view.id}:{self._feature.name}"
        project = self._settings.feast_project
        found = read_online(self._conn, client, self._definitions, [reference], [self._entity], project=project)
        return found.rows[0].features[reference]

    def _window(self, event: datetime) -> windows.Window:
        """The rows that the value is made of: of a feature set the row itself."""
        windowed = self._feature.windowed
        relation = Relation(self._view.relations[0] if windowed is None else windowed.relation)
        happened = windowed is not None and relation is Relation.EVENTS
        name = self._feature.column if windowed is None else None if happened else windowed.of
        first = event if windowed is None else from_us(_begin(windowed, to_us(event)))
        kinds = {windowed.of} if windowed is not None and happened else None
        mine = [one for one in self._series(relation) if kinds is None or one.sensor_type in kinds]
        return windows.Window(relation, [one.series_id for one in mine], name, first, event)

    def _series(self, relation: str) -> list[Series]:
        keys = tuple(str(self._entity[name]) for name in self._tables.keys)
        return [one for one in series_of(self._conn, self._view) if one.keys == keys and one.relation == relation]

    def _recomputed(self, event: datetime) -> dict[str, Any]:
        """The row of what the feature needs, by the engine, from the rows of its windows alone; empty where it is none."""
        view = self._view.model_copy(update={"features": list(self._needed.values()), "every": None})
        tables, t = ViewTables(self._definitions, view), to_us(event)
        boundary = Reach.of(view).boundary
        begin = min((_begin(windowed, t) for windowed in view.windowed), default=t) // boundary * boundary
        stretches = [
            Stretch(0, one.series_id, one.relation, one.sensor_type, from_us(begin), from_us(t + 1))
            for relation in view.relations
            for one in self._series(relation)
        ]
        script = compile_view(self._definitions, view)["duckdb"]
        with arrow_reader(self._conn) as reader, engine(self._settings, script) as run:
            computed, _ = run.run(read_events(reader, tables, stretches), no_tiles(partials(self._definitions, view)))
        return next((row for row in computed.to_pylist() if row["t"] == t), {})

    def _origins(self, found: Sequence[windows.Value]) -> list[Origin]:
        """With the lines' bytes, each delivery read once."""
        positions = defaultdict(set)
        for one in found:
            positions[one.batch_id].add(one.position)
        lines: dict[int, dict[int, bytes]] = {}
        lost: dict[int, str] = {}
        for number, wanted in positions.items():
            batch = self._batch(number)
            dataset = self._definitions.datasets.get(batch.dataset)
            if dataset is not None and dataset.sensitive:
                lost[number] = f"the dataset {dataset.dataset} has sensitive fields: its lines are not shown"
                continue
            try:
                lines[number] = origins.lines(self._conn, self._settings, self._definitions, batch, wanted)
            except Unavailable as error:
                lost[number] = str(error)
        return [
            Origin(
                **vars(one),
                line=_shown(lines[one.batch_id][one.position]) if one.batch_id in lines else None,
                lost=lost.get(one.batch_id),
            )
            for one in found
        ]

    def _delivery(self, number: int, rows: int) -> Delivery:
        batch = self._batch(number)
        name = batch.file_name if batch.topic is None else f"{batch.topic}[{batch.partition}]"
        return Delivery(
            batch_id=number,
            rows=rows,
            name=name or "",
            by=batch.planned_by,
            created_timestamp=batch.created_timestamp,
            run_id=batch.run_id,
            quarantined=batch.report.get("quarantined", 0),
        )

    def _batch(self, number: int) -> ledger.Batch:
        if number not in self._batches:
            batch = ledger.get(self._conn, number)
            assert batch is not None
            self._batches[number] = batch
        return self._batches[number]


def _needed(named: Mapping[str, Feature], name: str) -> set[str]:
    """The feature and those that its expression uses, by way of others too."""
    text = named[name].expression
    return {name}.union(*(_needed(named, used) for used in parse(text).features)) if text is not None else {name}


def _begin(windowed: Windowed, event: int) -> int:
    """floor(t − W, h) in microseconds."""
    return (event - windowed.window_us) // windowed.tile_us * windowed.tile_us


def _definition(feature: Feature) -> str:
    windowed = feature.windowed
    if feature.expression is not None:
        return feature.expression
    if windowed is None:
        return f"{feature.column}, as it was uploaded"
    source = "" if windowed.relation == "measurements" else f" from {windowed.relation}"
    return f"{windowed.aggregate} of {windowed.of}{source} over {format_duration(timedelta(microseconds=windowed.window_us))}"


def _agree(value: Any, recomputed: Any, tolerance: float) -> bool:
    if value is None or recomputed is None or isinstance(value, str | bool):
        return bool(value == recomputed)
    return bool(abs(value - recomputed) <= tolerance)


def _shown(line: bytes) -> str:
    """As text; what is none, and what is too long, is marked."""
    text = line[:_LINE_BYTES].decode("utf-8", errors="backslashreplace")
    return text + (" …" if len(line) > _LINE_BYTES else "")
