"""Feast's Redis online store with corrections, atomic writes, honest statuses and, if asked, the TTL.

Belongs here: Feast's interface on our writer. Does not: bytes (codec.py), the atomic step (write.py).
feature_store.yaml names it by path; plain Feast users may do the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from feast import utils
from feast.infra.online_stores import redis as feast_redis
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from millwright.online import codec, connect, delete, stores
from millwright.online.write import FeastRow, write_feast_rows
from millwright.warehouse import plain_feast, registry_plugin  # noqa: F401 - registers itself

log = logging.getLogger(__name__)
_TYPE: Literal["millwright.online.store.RedisOnlineStore"] = "millwright.online.store.RedisOnlineStore"


class RedisOnlineStoreConfig(feast_redis.RedisOnlineStoreConfig):
    """All options of Feast's Redis store, and `honour_ttl`.

    `connection_string` takes Feast's form (`host:port,db=0,password=…`) or a redis:// or rediss:// URL; empty means the
    nearest Millwright project's Redis.
    """

    type: Literal["millwright.online.store.RedisOnlineStore"] = _TYPE  # type: ignore[assignment]
    connection_string: str = ""
    honour_ttl: bool = False
    """Values older than their view's TTL are read as null with status OUTSIDE_MAX_AGE."""


class RedisOnlineStore(feast_redis.RedisOnlineStore):
    """Created timestamps decide which of two rows is kept, event timestamps where a row has none; equal ones overwrite."""

    def _get_client(self, online_store_config: Any) -> Any:
        url = _url(online_store_config)
        if url is None:
            return super()._get_client(online_store_config)
        if self._client is None:
            self._client = connect.client(url)
        return self._client

    async def _get_client_async(self, online_store_config: Any) -> Any:
        url = _url(online_store_config)
        if url is None:
            return await super()._get_client_async(online_store_config)
        if self._client_async is None:
            self._client_async = connect.async_client(url)
        return self._client_async

    def online_write_batch(self, config: Any, table: Any, data: Any, progress: Callable[[int], Any] | None) -> None:
        """Write rows; see the class. Raises redis.RedisError; what was confirmed before it stays and may be written again."""
        name = feast_redis._versioned_fv_name(table, config)
        store = config.online_store
        rows = [
            FeastRow(
                key=_redis_key(config.project, key, entity_key_serialization_version=config.entity_key_serialization_version),
                values={codec.field(name, feature): value.SerializeToString() for feature, value in values.items()},
                event=(stamp := _timestamp(event)) and (stamp.seconds, stamp.nanos),
                event_bytes=stamp.SerializeToString(),
                created=None if created is None else stores.micros(utils.make_tzaware(created)),
            )
            for key, values, event, created in data
        ]
        if rows:
            client = self._get_client(store)
            write_feast_rows(client, name, rows, expire=store.key_ttl_seconds, always=store.skip_dedup)
        if progress:
            progress(len(rows))

    async def online_write_batch_async(self, config: Any, table: Any, data: Any, progress: Callable[[int], Any] | None) -> None:
        """As `online_write_batch`, on a thread."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def online_read(self, config: Any, table: Any, entity_keys: Any, requested_features: list[str] | None = None) -> list[Any]:
        """(event time, values) by entity; (None, None) where nothing is kept, empty values where the TTL has passed."""
        names, commands = self._commands(config, table, entity_keys, requested_features)
        replies = self._read_hash_fields(config, commands)
        return [self._row(config, table, names, reply) for reply in replies]

    async def online_read_async(
        self, config: Any, table: Any, entity_keys: Any, requested_features: list[str] | None = None
    ) -> list[Any]:
        """As `online_read`."""
        names, commands = self._commands(config, table, entity_keys, requested_features)
        replies = await self._read_hash_fields_async(config, commands)
        return [self._row(config, table, names, reply) for reply in replies]

    def _read_features_per_fv(
        self, config: Any, grouped_refs: Any, join_key_values: Any, key_map: Any, response: Any, full_names: bool, versions: bool
    ) -> None:
        asked = self._asked(config, grouped_refs, join_key_values, key_map)
        replies = self._read_hash_fields(config, [command for item in asked for command in item[2]])
        self._answer(config, asked, replies, response, full_names, versions)

    async def _read_features_per_fv_async(
        self, config: Any, grouped_refs: Any, join_key_values: Any, key_map: Any, response: Any, full_names: bool, versions: bool
    ) -> None:
        asked = self._asked(config, grouped_refs, join_key_values, key_map)
        replies = await self._read_hash_fields_async(config, [command for item in asked for command in item[2]])
        self._answer(config, asked, replies, response, full_names, versions)

    async def _read_hash_fields_async(self, config: Any, commands: list[Any]) -> Any:
        if not commands:
            return []
        client = await self._get_client_async(config.online_store)
        async with client.pipeline(transaction=False) as pipeline:
            for key, fields in commands:
                pipeline.hmget(key, fields)
            return await pipeline.execute()

    def _commands(self, config: Any, table: Any, entity_keys: Any, requested: list[str] | None) -> tuple[list[str], list[Any]]:
        names = list(requested or [feature.name for feature in table.features])
        view = feast_redis._versioned_fv_name(table, config)
        fields = [codec.timestamp_field(view), *(codec.field(view, name) for name in names)]
        keys = self._generate_redis_keys_for_entities(config, entity_keys)
        return names, [(key, fields) for key in keys]

    def _asked(self, config: Any, grouped_refs: Any, join_key_values: Any, key_map: Any) -> list[Any]:
        asked = []
        for table, requested in grouped_refs:
            values, places, rows = utils._get_unique_entities(table, join_key_values, key_map)
            names, commands = self._commands(config, table, utils._get_entity_key_protos(values), requested)
            asked.append((table, names, commands, tuple(places), rows))
        return asked

    def _answer(self, config: Any, asked: Any, replies: Any, response: Any, full_names: bool, versions: bool) -> None:
        replies = iter(replies)
        for table, names, commands, places, rows in asked:
            # Feast's own writes names and version metadata for an empty answer; only the vectors are ours.
            shell = GetOnlineFeaturesResponse()
            utils._populate_response_from_feature_data(names, [], [], shell, full_names, table, rows, versions)
            response.metadata.MergeFrom(shell.metadata)
            stamps = [Timestamp()] * rows
            values = [[Value()] * rows for _ in names]
            statuses = [[FieldStatus.NOT_FOUND] * rows for _ in names]
            for destinations, _ in zip(places, commands, strict=True):
                stamp, found = _decode(next(replies), _expires(config, table))
                for place in destinations:
                    stamps[place] = stamp
                    for index, (value, status) in enumerate(found):
                        values[index][place], statuses[index][place] = value, status
            for column, state in zip(values, statuses, strict=True):
                response.results.append(
                    GetOnlineFeaturesResponse.FeatureVector(values=column, statuses=state, event_timestamps=stamps)
                )

    def _row(self, config: Any, table: Any, names: list[str], reply: Any) -> tuple[datetime | None, dict[str, Any] | None]:
        if reply[0] is None:
            return None, None
        stamp, found = _decode(reply, _expires(config, table))
        instant = datetime.fromtimestamp(0, UTC) + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
        return instant, {name: value for name, (value, _) in zip(names, found, strict=True)}

    def update(
        self,
        config: Any,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Delete the data of views that are gone, except of those that the platform serves (active or deprecated)."""
        if not tables_to_delete or not config.online_store.full_scan_for_deletion:
            return
        served = delete.served_views(config.project)
        for table in tables_to_delete:
            if served is None or feast_redis._versioned_fv_name(table, config) in served:
                log.warning("kept the online data of %s: retire it first (`millwright retire %s`)", table.name, table.name)
            else:
                self.delete_table(config, table)

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Delete all data of this project's views; nothing of any other project."""
        for table in tables:
            self.delete_table(config, table)
        if self._glide_client:
            self._glide_client.close()
            self._glide_client = None

    def delete_table(self, config: Any, table: Any) -> None:
        """Delete a view's fields from every entity of this project."""
        client = self._get_client(config.online_store)
        name = feast_redis._versioned_fv_name(table, config)
        delete.delete_view(client, config.project, table.join_keys, name, [feature.name for feature in table.features])

    def delete_entity_values(self, config: Any, join_keys: list[str]) -> None:
        """Delete every entity of this project that has these join keys."""
        client = self._get_client(config.online_store)
        for key in delete.entity_keys(client, config.project, join_keys):
            client.delete(key)


def _url(store: Any) -> str | None:
    """The URL, with what `redis_type` and `sentinel_master` say about it; None for Feast's own form."""
    if not store.connection_string:
        return plain_feast.nearest_settings().require("redis_url")
    scheme, found, rest = store.connection_string.partition("://")
    if not found:
        return None
    if "+" in scheme or store.redis_type == feast_redis.RedisType.redis:
        return str(store.connection_string)
    if store.redis_type == feast_redis.RedisType.redis_cluster:
        return f"{scheme}+cluster://{rest}"
    hosts, _, options = rest.partition("?")
    host, _, db = hosts.partition("/")
    return f"{scheme}+sentinel://{host}/{store.sentinel_master}?{'&'.join(filter(None, [options, db and f'db={db}']))}"


def _timestamp(instant: datetime) -> Any:
    stamp = Timestamp()
    stamp.FromDatetime(utils.make_tzaware(instant))
    return stamp


def _expires(config: Any, table: Any) -> float | None:
    """Seconds since 1970 before which an event is too old; None when age does not matter."""
    ttl = table.ttl if config.online_store.honour_ttl else None
    return (datetime.now(UTC) - ttl).timestamp() if ttl else None


def _decode(reply: Sequence[bytes | None], expires: float | None) -> tuple[Any, list[tuple[Any, Any]]]:
    stamp = Timestamp()
    if reply[0] is None:
        return stamp, [(Value(), FieldStatus.NOT_FOUND)] * (len(reply) - 1)
    stamp.ParseFromString(reply[0])
    if expires is not None and stamp.seconds + stamp.nanos / 1e9 < expires:
        return stamp, [(Value(), FieldStatus.OUTSIDE_MAX_AGE)] * (len(reply) - 1)
    found = []
    for data in reply[1:]:
        if data is None:
            found.append((Value(), FieldStatus.NOT_FOUND))
        else:
            found.append((Value.FromString(data), FieldStatus.PRESENT if data else FieldStatus.NULL_VALUE))
    return stamp, found
