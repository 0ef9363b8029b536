"""Compares what should be equal, tells each difference by its cause, and repairs it.

Belongs here: Postgres's latest rows against Redis. Does not: how rows are written (online/), when to compare (checks/).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import redis
from psycopg import sql
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions, FeatureView
from millwright.online import codec, stores, wire
from millwright.online.lookup import Fields, Reply, lookup
from millwright.online.publish import encode_rows, publish, row_fields
from millwright.online.write import remove_rows
from millwright.warehouse import latest
from millwright.warehouse.connect import snapshot
from millwright.warehouse.copy import arrow_reader

Cause = Literal["equal", "missing", "extra", "older", "newer", "different", "undecodable", "expired"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
SHOWN = 10
_CHUNK = 5_000


class Difference(BaseModel):
    """One entity that differs: values of the features that do, as Postgres and Redis have them."""

    model_config = ConfigDict(frozen=True)

    cause: Cause
    entity: dict[str, Any]
    postgres_event: datetime | None = None
    redis_event: datetime | None = None
    postgres: dict[str, Any] = {}
    redis: dict[str, Any] = {}


class Comparison(BaseModel):
    """Entities by cause. missing: not in Redis; extra: in Redis, with no current row in Postgres; older, newer: Redis has a row
    of an earlier or later event; different: the same event with other values; undecodable: bytes that are not Feast's;
    expired: not in Redis, which lets keys of that age expire: no fault."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    entities: int
    sampled: bool
    equal: int = 0
    missing: int = 0
    extra: int = 0
    older: int = 0
    newer: int = 0
    different: int = 0
    undecodable: int = 0
    expired: int = 0
    first_differences: list[Difference] = []

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.equal + self.expired == self.entities and not self.extra


class Repair(BaseModel):
    """What a repair did: `written` rows were sent again, `removed` taken out of Redis, `older` refused, because what stands in
    Redis is of a later snapshot than Postgres has ever made. `before` and `after`: the comparisons around it."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    before: Comparison
    after: Comparison
    written: int = 0
    removed: int = 0
    older: int = 0


def repair_online(
    conn: psycopg.Connection[Any],
    client: redis.Redis,
    definitions: Definitions,
    view: FeatureView,
    *,
    project: str,
    expire: timedelta | None = None,
) -> Repair:
    """Compare all of a view; where something differs, publish every entity again, remove those that Postgres never had, compare.

    Each key is still compared and set by its snapshot's order: what another publish writes meanwhile stays. `conn`: autocommit,
    outside a transaction. Raises psycopg.Error, redis.RedisError, StoreChanged.
    """
    unknown: list[bytes] = []
    before = compare_online(conn, client, definitions, view, project=project, unknown=unknown, expire=expire)
    if before.same:
        return Repair(view_id=view.id, before=before, after=before)
    published = publish(conn, client, definitions, view, project=project, full=True)
    order = stores.micros(published.order) if published.order else 0
    gone = remove_rows(client, view.id, wire.binary(unknown), row_fields(view), order)
    return Repair(
        view_id=view.id,
        before=before,
        after=compare_online(conn, client, definitions, view, project=project, expire=expire),
        written=published.written + published.equal,
        removed=published.removed + gone.removed,
        older=published.older + gone.older,
    )


def compare_online(
    conn: psycopg.Connection[Any],
    client: redis.Redis,
    definitions: Definitions,
    view: FeatureView,
    *,
    project: str,
    sample: int | None = None,
    unknown: list[bytes] | None = None,
    expire: timedelta | None = None,
) -> Comparison:
    """Each entity's latest row in Postgres (one snapshot) against Redis, byte by byte, without regard to the TTL.

    `sample`: only so many entities; then Redis is not scanned for entities that Postgres does not have, but those whose last row
    was retracted are looked at. `unknown`: gets the keys of entities that Postgres never had. `expire`: the age at which Redis
    lets keys go (registry.keys_expire). `conn`: autocommit, outside a transaction. Raises psycopg.Error, redis.RedisError.
    """
    entity = definitions.entity_of(view)
    counts: Counter[str] = Counter()
    shown: list[Difference] = []
    seen: set[bytes] = set()
    query = latest.latest_rows(entity, view) if sample is None else latest.sample_rows(conn, entity, view, sample)
    for chunk in _snapshot(conn, query):
        present = pc.is_valid(chunk.column("event_timestamp"))
        rows, gone = chunk.filter(present), chunk.filter(pc.invert(present))
        for difference in _chunk(client, definitions, view, project, rows):
            _count(_aged(difference, expire), counts, shown)
        keys = codec.encode_keys(project, entity.join_keys, gone).to_pylist()
        for difference in filter(None, _extras(client, view, keys, gone.select(list(entity.keys)).to_pylist())):
            _count(difference, counts, shown)
        if sample is None:
            seen.update(codec.encode_keys(project, entity.join_keys, chunk).to_pylist())
    if sample is None:
        for keys in _unknown(client, project, entity.keys, seen):
            entities = [dict(zip(entity.keys, codec.key_values(key), strict=True)) for key in keys]
            for key, extra in zip(keys, _extras(client, view, keys, entities), strict=True):
                if extra is None:
                    continue
                _count(extra, counts, shown)
                if unknown is not None:
                    unknown.append(key)
    total = sum(counts.values()) - counts["extra"]
    return Comparison(view_id=view.id, entities=total, sampled=sample is not None, first_differences=shown, **counts)


def _aged(difference: Difference, expire: timedelta | None) -> Difference:
    """A missing row that is so old that Redis was told to let it go is expired."""
    event = difference.postgres_event
    if difference.cause == "missing" and expire is not None and event is not None and event < datetime.now(UTC) - expire:
        return difference.model_copy(update={"cause": "expired"})
    return difference


def _count(difference: Difference, counts: Counter[str], shown: list[Difference]) -> None:
    counts[difference.cause] += 1
    if difference.cause not in ("equal", "expired") and len(shown) < SHOWN:
        shown.append(difference)


def _snapshot(conn: psycopg.Connection[Any], query: sql.Composed) -> Iterator[pa.RecordBatch]:
    with snapshot(conn), arrow_reader(conn) as reader:
        for batch in reader.batches(query):
            for start in range(0, batch.num_rows, _CHUNK):
                yield batch.slice(start, _CHUNK)


def _chunk(
    client: redis.Redis, definitions: Definitions, view: FeatureView, project: str, rows: pa.RecordBatch
) -> Iterator[Difference]:
    if not rows.num_rows:
        return
    keys, fields = encode_rows(definitions, view, project, rows)
    stored = _fetch(client, keys.to_pylist(), [name for name, _ in fields])
    wanted = zip(*(values.to_pylist() for _, values in fields), strict=True)
    names = definitions.entity_of(view).keys
    for index, (want, have) in enumerate(zip(wanted, stored, strict=True)):
        if list(want) == list(have):
            yield Difference(cause="equal", entity={})
            continue
        entity = {name: rows.column(name)[index].as_py() for name in names}
        yield _difference(view, entity, want, have)


def _difference(view: FeatureView, entity: dict[str, Any], want: Sequence[bytes], have: Reply) -> Difference:
    event = codec.decode_timestamp(want[0])
    known: dict[str, Any] = {"entity": entity, "postgres_event": stores.from_micros(event)}
    if have[0] is None:
        return Difference(cause="missing", **known)
    try:
        there = codec.decode_timestamp(have[0])
        known["redis_event"] = stores.from_micros(there)
        for feature, ours, theirs in zip(view.features, want[1:], have[1:], strict=True):
            if ours != theirs:
                known.setdefault("postgres", {})[feature.name] = codec.decode_value(ours)
                known.setdefault("redis", {})[feature.name] = None if theirs is None else codec.decode_value(theirs)
    except (codec.Undecodable, OverflowError):
        return Difference(cause="undecodable", **known)
    return Difference(cause="different" if there == event else "older" if there < event else "newer", **known)


def _extras(
    client: redis.Redis, view: FeatureView, keys: list[bytes], entities: list[dict[str, Any]]
) -> Iterator[Difference | None]:
    """By key the difference; None where Redis has no row of the view."""
    for entity, (stamp,) in zip(entities, _fetch(client, keys, [codec.timestamp_field(view.id)]), strict=True):
        if stamp is None:
            yield None
            continue
        try:
            yield Difference(cause="extra", entity=entity, redis_event=stores.from_micros(codec.decode_timestamp(stamp)))
        except (codec.Undecodable, OverflowError):
            yield Difference(cause="extra", entity=entity)


def _fetch(client: redis.Redis, keys: list[bytes], fields: list[bytes]) -> list[Reply]:
    return lookup(client, [(Fields(fields), keys)])


def _unknown(client: redis.Redis, project: str, names: tuple[str, ...], seen: set[bytes]) -> Iterator[list[bytes]]:
    """Keys of this project's entities that Postgres has never had, a few thousand at a time."""
    ours = project.encode()
    waiting: list[bytes] = []
    for key in client.scan_iter(match=codec.scan_pattern(names), count=1000):
        if key not in seen and codec.split_key(key) == (names, ours):
            waiting.append(key)
            seen.add(key)
        if len(waiting) == _CHUNK:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
