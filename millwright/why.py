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
from millwright.definitions.features import Feature, Windowed
from millwright.definitions.partials import partials
from millwright.definitions.words import nearest
from millwright.features.chunk import TOLERANCE
from millwright.features.compute import engine, no_tiles
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
    times. `online`: what the online store serves now, only where the newest row is asked for. `recomputed`: by the engine from
    the rows of the window [window_begin, event_timestamp] alone; `agrees`: within the feature's tolerance (I5). `rows`: those of
    the window with a value; `without`: those that lack it; `origins`: the newest of those with it; `replaced`: values that
    corrections took out; `deliveries`: all batches that gave values.
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
        self._batches: dict[int, ledger.Batch] = {}

    def told(self, client: redis.Redis | None, at: datetime | None, shown: int) -> Why:
        event, created, known, value = self._row(at)
        told = {
            "view_id": self._view.id,
            "feature": self._feature.name,
            "definition": _definition(self._feature),
            "definition_hash": self._view.content_hash(),
            "entity": self._entity,
            "event_timestamp": event,
            "created_timestamp": created,
            "known_timestamp": known,
            "value": value,
            "online": self._online(client) if client is not None and at is None else None,
        }
        window = self._window(event)
        counted = windows.counts(self._conn, window)
        recomputed, tolerance = self._recomputed(window, event, value)
        return Why.model_validate(
            told
            | {
                "recomputed": recomputed,
                "agrees": _agree(value, recomputed, tolerance),
                "window_begin": window.first,
                "rows": sum(count for batch, count in counted.items() if batch is not None),
                "without": counted.get(None, 0),
                "origins": self._origins(windows.values(self._conn, window, shown)),
                "replaced": self._origins(windows.replaced(self._conn, window, shown)),
                "deliveries": [self._delivery(batch, count) for batch, count in counted.items() if batch is not None],
            }
        )

    def _row(self, at: datetime | None) -> tuple[Any, ...]:
        same = sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(n), sql.Literal(v)) for n, v in self._entity.items()
        )
        query = sql.SQL(
            "select event_timestamp, created_timestamp, known_timestamp, {} from {} where {} and event_timestamp <= {}"
            " and superseded_timestamp = 'infinity' order by event_timestamp desc limit 1"
        ).format(sql.Identifier(self._feature.name), self._tables.history, same, sql.Literal("infinity" if at is None else at))
        row: tuple[Any, ...] | None = self._conn.execute(query).fetchone()
        if row is None:
            whose = " ".join(f"{name}={value}" for name, value in self._entity.items())
            raise NothingToExplain(
                f"{self._view.id} has no row of {whose}{f' at or before {at:%Y-%m-%d %H:%M:%S}' if at else ''}."
            )
        return row

    def _online(self, client: redis.Redis) -> FeatureValue:
        reference = f"{self._view.id}:{self._feature.name}"
        project = self._settings.feast_project
        found = read_online(self._conn, client, self._definitions, [reference], [self._entity], project=project)
        return found.rows[0].features[reference]

    def _window(self, event: datetime) -> windows.Window:
        """The rows that the value is made of: of a feature set the row itself."""
        windowed = self._feature.windowed
        relation = Relation(self._view.relations[0] if windowed is None else windowed.relation)
        name = self._feature.column if windowed is None else None if relation is Relation.EVENTS else windowed.of
        first = event if windowed is None else from_us(_begin(windowed, to_us(event)))
        return windows.Window(relation, [one.series_id for one in self._series(relation, windowed)], name, first, event)

    def _series(self, relation: Relation, windowed: Windowed | None) -> list[Series]:
        keys = tuple(str(self._entity[name]) for name in self._tables.keys)
        kinds = {windowed.of} if windowed is not None and relation is Relation.EVENTS else None
        return [
            one
            for one in series_of(self._conn, self._view)
            if one.keys == keys and one.relation == relation and (kinds is None or one.sensor_type in kinds)
        ]

    def _recomputed(self, window: windows.Window, event: datetime, value: Any) -> tuple[Any, float]:
        """The value from the rows of the window alone, and how far it may lie from the stored one."""

        if self._feature.windowed is None:
            found = windows.values(self._conn, window, 1)
            return (found[0].value if found else None), 0.0
        view = self._view.model_copy(update={"features": [self._feature], "every": None})
        tables = ViewTables(self._definitions, view)
        end = from_us(to_us(event) + 1)
        stretches = [
            Stretch(0, one.series_id, one.relation, one.sensor_type, window.first, end)
            for relation in view.relations
            for one in self._series(Relation(relation), self._feature.windowed if relation == window.relation else None)
        ]
        script = compile_view(self._definitions, view)["duckdb"]
        with arrow_reader(self._conn) as reader, engine(self._settings, script) as run:
            computed, _ = run.run(read_events(reader, tables, stretches), no_tiles(partials(self._definitions, view)))
        (row,) = [row for row in computed.to_pylist() if row["t"] == to_us(event)] or [{}]
        return row.get(self._feature.name), row.get(f"{TOLERANCE}{self._feature.name}") or 0.0

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


def _begin(windowed: Windowed, event: int) -> int:
    """floor(t − W, h) in microseconds."""
    return (event - windowed.window_us) // windowed.tile_us * windowed.tile_us


def _definition(feature: Feature) -> str:
    windowed = feature.windowed
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
