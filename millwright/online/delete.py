"""Deletes a view's or an entity's data from Redis, without asking a warehouse which entities there are.

Belongs here: finding this project's keys, and which views must not be deleted. Does not: Feast's interface (store.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from millwright.online import codec, stores
from millwright.settings import NotConfigured
from millwright.warehouse import plain_feast
from millwright.warehouse.connect import connect

log = logging.getLogger(__name__)
_CHUNK = 500


def delete_view(client: Any, project: str, join_keys: Sequence[str], name: str, features: Sequence[str]) -> None:
    """Delete the fields of the view `name` from every entity of the project, and what says that it was published."""
    fields = [codec.field(name, feature) for feature in features]
    fields += [codec.timestamp_field(name), codec.order_field(name)]
    pipeline = client.pipeline(transaction=False)
    for key in entity_keys(client, project, join_keys):
        pipeline.hdel(key, *fields)
        if len(pipeline) >= _CHUNK:
            pipeline.execute()
    pipeline.execute()
    client.hdel(stores.state_key(project), name)


def entity_keys(client: Any, project: str, join_keys: Sequence[str]) -> Iterator[bytes]:
    """Keys of the project's entities: each taken apart, since a project's name may end with another's."""
    names, ours = tuple(sorted(join_keys)), project.encode()
    for key in client.scan_iter(match=codec.scan_pattern(names), count=1000):
        if codec.split_key(key) == (names, ours):
            yield key


def served_views(project: str) -> set[str] | None:
    """Ids of the project's active and deprecated views; empty without a platform, None when its catalog cannot be asked."""
    settings = plain_feast.nearest_settings()
    try:
        url = settings.require("postgres_url")
    except NotConfigured:
        return set()
    if settings.feast_project != project:
        return set()
    try:
        with connect(url, autocommit=True) as conn:
            rows = conn.execute("select view_id from catalog.feature_views where status in ('active', 'deprecated')").fetchall()
    except psycopg.errors.UndefinedTable:
        return set()
    except psycopg.Error as error:
        log.warning("the platform's catalog does not answer: %s", error)
        return None
    return {row[0] for row in rows}
