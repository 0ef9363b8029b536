"""The whole way on a simulated fleet, against the running platform, each step with what was seen.

Belongs here: what the demo does and what must hold after each step. Does not: predictions and what
follows them (demo_serving.py), starting and stopping servers (commands/demo.py), any step of the way itself.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from millwright.compare import compare_online
from millwright.definitions import FeatureView
from millwright.features.refresh import stale_views
from millwright.landing.batches import Receipt, receipt
from millwright.landing.receive import Delivery, receive
from millwright.online.publish import unpublished_views
from millwright.platform import Platform
from millwright.registry import applied
from millwright.serving.keys import create_key, revoke_key
from millwright.simulation import Defect, messages, write_correction, write_csv

DATASET, TOPIC, MACHINES, PRESS = "fleet", "telemetry", 30, "press-01"
DEFECTS = {
    Defect.TEXT_IN_NUMBER: 3,
    Defect.OUT_OF_RANGE: 2,
    Defect.MISSING_MACHINE_ID: 2,
    Defect.OTHER_VALUES: 2,
    Defect.DUPLICATE_LINE: 4,
}
_PATIENCE = 120.0
_TERMINAL = ("landed", "refused", "failed", "undone")

Figures = dict[str, int | float | str]


class DemoStep(BaseModel):
    """One step: whether what must hold after it held, and the figures seen."""

    model_config = ConfigDict(frozen=True)
    name: str
    ok: bool
    seconds: float
    figures: Figures


class DemoReport(BaseModel):
    """All steps; `ok` only if each was."""

    model_config = ConfigDict(frozen=True)
    ok: bool
    seconds: float
    steps: list[DemoStep]
    addresses: dict[str, str] = {}


class DemoFailed(RuntimeError):
    """Something that must hold did not."""


@dataclass
class Demo:
    """Runs steps one after the other and keeps what they saw; stops at the first that fails."""

    tell: Callable[[DemoStep], None]
    steps: list[DemoStep] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Figures]:
        """Time a step; an exception ends it as not ok, with its message in the figures, and goes on to the caller."""
        figures: Figures = {}
        start = time.monotonic()
        ok = False
        try:
            yield figures
            ok = True
        except Exception as error:
            figures["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            done = DemoStep(name=name, ok=ok, seconds=round(time.monotonic() - start, 2), figures=figures)
            self.steps.append(done)
            self.tell(done)


def run(platform: Platform, demo: Demo) -> None:
    """Files, the same files again, a late correction, a Kafka batch, agreement of all readers. Raises what a step raised."""
    today = datetime.now(UTC).date()
    with TemporaryDirectory() as folder:
        files = write_csv(Path(folder), today - timedelta(days=3), today - timedelta(days=1), MACHINES, defects=DEFECTS)
        with demo.step("three days of files") as figures:
            receipts = _drop(platform, [file.path for file in files])
            expect(
                all(r.state == "landed" for r in receipts), f"not every file landed: {[(r.file_name, r.error) for r in receipts]}"
            )
            figures |= _totals(receipts)
            expect(figures["received"] == sum(file.rows for file in files), "rows were not all accounted for")
            expect(figures["quarantined"] == sum(file.bad for file in files), "not exactly the bad rows are in quarantine")
            figures["online entities"] = _online(platform)
        with demo.step("the same files again") as figures:
            before = _state(platform)
            write_csv(Path(folder), today - timedelta(days=3), today - timedelta(days=1), MACHINES, defects=DEFECTS)
            _drop(platform, [file.path for file in files])
            figures |= {"changed": int(_state(platform) != before), **before}
            expect(figures["changed"] == 0, "delivering again changed something")
        with demo.step("a late correction") as figures:
            figures |= _correct(platform, Path(folder), today)
    with demo.step("a Kafka batch") as figures:
        figures |= _kafka(platform)
    with demo.step("Feast, API, Redis and warehouse agree") as figures:
        figures |= _agree(platform)


def _drop(platform: Platform, files: list[Path]) -> list[Receipt]:
    """Move files into the inbox, wait until the platform has landed, refreshed and published; their receipts."""
    inbox = platform.settings.inbox / DATASET
    inbox.mkdir(parents=True, exist_ok=True)
    for file in files:
        part = inbox / f".{file.name}.part"
        part.write_bytes(file.read_bytes())
        part.replace(inbox / file.name)
    names = [file.name for file in files]
    until(lambda: not any((inbox / name).exists() for name in names), "the inbox was not emptied: does the Dagster daemon run?")
    rows = platform.conn.execute(
        "select distinct on (file_name) batch_id from landing.batches where dataset = %s and file_name = any(%s)"
        " order by file_name, batch_id desc",
        (DATASET, names),
    ).fetchall()
    return [_settled(platform, batch_id) for (batch_id,) in rows]


def _settled(platform: Platform, batch_id: int) -> Receipt:
    """The receipt of a batch once it has ended and nothing is left to refresh or publish."""
    until(
        lambda: receipt(platform.conn, batch_id).state in _TERMINAL,
        f"batch {batch_id} was not landed: see the run in the Dagster UI",
    )
    until(
        lambda: (
            not stale_views(platform.conn, platform.definitions)
            and not unpublished_views(
                platform.conn, platform.redis, platform.definitions, project=platform.settings.feast_project
            )
        ),
        "features were not refreshed and published: see the run in the Dagster UI",
    )
    return receipt(platform.conn, batch_id)


def _correct(platform: Platform, folder: Path, today: date) -> Figures:
    """Correct a press's last hour of yesterday, twice-run safe: each correction moves the temperatures further."""
    row = platform.conn.execute("select count(*) from landing.batches where file_name like 'correction-%'").fetchone()
    assert row is not None
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
    file = write_correction(
        folder / f"correction-{row[0] + 1}.csv",
        midnight - timedelta(hours=1),
        midnight,
        [PRESS],
        MACHINES,
        offset=-2.5 - 0.25 * row[0],
    )
    view = platform.definitions.feature_views["machine_vitals_v1"]
    before = _mean_before(platform, view, midnight)
    received = receive(
        platform.conn, platform.settings, platform.definitions, file.path,
        dataset=DATASET, file_name=file.path.name, delivery=Delivery(correction=True), channel="upload", by="demo",
    )  # fmt: skip
    done = _settled(platform, received.batch_id)
    after = _mean_before(platform, view, midnight)
    expect(done.corrected == file.rows, f"corrected {done.corrected} of {file.rows} rows")
    expect(before != after, "the corrected hour has the same mean")
    different = compare_online(platform.conn, platform.redis, platform.definitions, view, project=platform.settings.feast_project)
    expect(different.equal == different.entities, "Redis does not hold the corrected features")
    return {"corrected": done.corrected, "mean before": round(before, 3), "mean after": round(after, 3)}


def _mean_before(platform: Platform, view: FeatureView, moment: datetime) -> float:
    query = sql.SQL(
        "select temperature_mean_1h from features.{} where machine_id = %s and event_timestamp < %s"
        " order by event_timestamp desc limit 1"
    ).format(sql.Identifier(view.id))
    row = platform.conn.execute(query, (PRESS, moment)).fetchone()
    expect(row is not None and row[0] is not None, f"{view.id} has no row of {PRESS} before {moment}")
    assert row is not None
    return float(row[0])


def _kafka(platform: Platform) -> Figures:
    """Produce the last ten minutes of the fleet as messages, one of them poison; wait until Redis has them."""
    from confluent_kafka import Producer

    bootstrap = platform.settings.require("kafka_bootstrap")
    _ensure_topic(bootstrap)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    sent = [json.dumps(message) for message in messages(now - timedelta(minutes=10), now, MACHINES)]
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "millwright-demo"})
    producer.init_transactions()
    producer.begin_transaction()
    for text in [*sent, '{"machine_id": "press-01", "temperature": "hot"}']:
        producer.produce(TOPIC, text.encode())
    producer.commit_transaction()

    def landed() -> list[int]:
        rows = platform.conn.execute(
            "select batch_id from landing.batches where source = 'kafka' and last_event >= %s and state = any(%s)",
            (now - timedelta(minutes=1), list(_TERMINAL)),
        ).fetchall()
        return [batch_id for (batch_id,) in rows]

    until(lambda: bool(landed()), "the messages were not landed: see the run in the Dagster UI")
    receipts = [_settled(platform, batch_id) for batch_id in landed()]
    totals = _totals(receipts)
    expect(totals["quarantined"] == 1, "exactly the poison message must be in quarantine")
    return {"messages": len(sent) + 1, **totals, "online entities": _online(platform)}


def _ensure_topic(bootstrap: str) -> None:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    if TOPIC not in admin.list_topics(timeout=10).topics:
        for future in admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)]).values():
            future.result(timeout=30)


def _agree(platform: Platform) -> Figures:
    """Every published view, every entity, every feature: warehouse = Redis = our API = the Feast SDK."""
    secret = create_key(platform.conn, name="demo", scopes=["read"], expires_in=timedelta(hours=1))
    values = 0
    try:
        for view_id, state in applied(platform.conn).items():
            if not state.published or view_id not in platform.definitions.feature_views:
                continue
            view = platform.definitions.feature_views[view_id]
            stored = _warehouse(platform, view)
            keys = {name: [row[name] for row in stored] for name in platform.definitions.entity_of(view).keys}
            names = [feature.name for feature in view.features]
            references = [f"{view.id}:{name}" for name in names]
            expected = [[row[name] for name in names] for row in stored]
            expect(
                _api(platform, secret.key, references, keys, names) == expected,
                f"the API disagrees with the warehouse on {view.id}",
            )
            expect(_feast(platform, references, keys, names) == expected, f"Feast disagrees with the warehouse on {view.id}")
            parity = compare_online(
                platform.conn, platform.redis, platform.definitions, view, project=platform.settings.feast_project
            )
            expect(parity.equal == parity.entities, f"Redis disagrees with the warehouse on {view.id}: {parity}")
            values += sum(map(len, expected))
    finally:
        revoke_key(platform.conn, secret.key_id)
    expect(values > 0, "no published view has a row")
    return {"feature values compared": values}


def _warehouse(platform: Platform, view: FeatureView) -> list[dict[str, Any]]:
    """Latest feature row of each entity; expired rows are left out, as readers get nulls for them."""
    keys = sql.SQL(", ").join(map(sql.Identifier, platform.definitions.entity_of(view).keys))
    query = sql.SQL("select distinct on ({keys}) * from features.{view} order by {keys}, event_timestamp desc").format(
        keys=keys, view=sql.Identifier(view.id)
    )
    with platform.conn.cursor() as cursor:
        cursor.execute(query)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
    return [row for row in rows if row["event_timestamp"] > datetime.now(UTC) - view.ttl]


def _api(platform: Platform, key: str, references: list[str], keys: dict[str, list[Any]], names: list[str]) -> list[list[Any]]:
    body = json.dumps({"features": references, "entities": keys}).encode()
    request = urllib.request.Request(
        f"http://{platform.settings.api_host}:{platform.settings.api_port}/get-online-features",
        data=body,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    columns = dict(zip(answer["metadata"]["feature_names"], (result["values"] for result in answer["results"]), strict=True))
    return _rows(columns, names)


def _feast(platform: Platform, references: list[str], keys: dict[str, list[Any]], names: list[str]) -> list[list[Any]]:
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(platform.settings.feature_repo))
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*keys.values(), strict=True)]
    return _rows(store.get_online_features(features=references, entity_rows=rows).to_dict(), names)


def _rows(columns: dict[str, list[Any]], names: list[str]) -> list[list[Any]]:
    return [list(values) for values in zip(*(columns[name] for name in names), strict=True)]


def _totals(receipts: list[Receipt]) -> Figures:
    names = ("received", "loaded", "corrected", "duplicate", "quarantined")
    return {"batches": len(receipts), **{name: sum(getattr(r, name) for r in receipts) for name in names}}


def _online(platform: Platform) -> int:
    """Entities that Redis and Postgres agree on, over all published views; raises DemoFailed on a difference."""
    entities = 0
    for view_id, state in applied(platform.conn).items():
        if state.published and view_id in platform.definitions.feature_views:
            view = platform.definitions.feature_views[view_id]
            parity = compare_online(
                platform.conn, platform.redis, platform.definitions, view, project=platform.settings.feast_project
            )
            expect(parity.equal == parity.entities, f"Redis disagrees with Postgres on {view_id}: {parity}")
            entities += parity.entities
    return entities


def _state(platform: Platform) -> dict[str, int]:
    """Row counts of all that a delivery could change."""
    counts = {"measurements": "select count(*) from warehouse.measurements", "changes": "select count(*) from warehouse.changes"}
    found = {name: int(platform.conn.execute(query).fetchall()[0][0]) for name, query in counts.items()}
    history = 0
    for view_id in platform.definitions.feature_views:
        query = sql.SQL("select count(*) from features.{}").format(sql.Identifier(f"{view_id}_history"))
        history += int(platform.conn.execute(query).fetchall()[0][0])
    return {**found, "feature rows": history}


def until(holds: Callable[[], bool], otherwise: str) -> None:
    """Wait until it holds. Raises DemoFailed with `otherwise` after two minutes."""
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {_PATIENCE:.0f} s: {otherwise}")
        time.sleep(0.1)


def expect(holds: bool, otherwise: str) -> None:
    """Raises DemoFailed with `otherwise` where it does not hold."""
    if not holds:
        raise DemoFailed(otherwise)
