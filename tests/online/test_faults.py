"""Redis fails in the middle of a publish: it is tried again or told in a sentence, nothing is half believed, the next one
converges (I4, I7)."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from millwright.compare import compare_online
from millwright.online import connect, transactions
from millwright.online import publish as module
from millwright.stack.server import free_port
from tests.online import servers
from tests.online.conftest import NOON, Online
from tests.servers import PASSWORD, running

ROWS = 100


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks and transactions of so few rows; no long waits."""
    monkeypatch.setattr(module, "CHUNK_ROWS", 30)
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.05))
    monkeypatch.setattr(transactions, "AT_ONCE", 7)


@pytest.fixture
def filled(online: Online) -> Online:
    for index in range(ROWS):
        online.history.put([f"press-{index}"], NOON, temperature_last=float(index))
    return online


def behind(online: Online, line: servers.Line, **options: Any) -> Online:
    """The same with a client that goes over the line."""
    told = online.redis.connection_pool.connection_kwargs
    return dataclasses.replace(online, redis=redis.Redis(port=line.port, password=told["password"], **options))


def assert_whole(online: Online) -> None:
    """Nothing is unpublished, and Redis holds each row."""
    assert online.unpublished() == []
    found = compare_online(online.conn, online.redis, online.definitions, online.view, project="millwright")
    assert (found.equal, found.same) == (ROWS, True)


@pytest.fixture
def line(online: Online) -> Iterator[servers.Line]:
    found = servers.Line(online.redis.connection_pool.connection_kwargs["port"])
    yield found
    found.close()


@pytest.mark.parametrize("after", [900, 2_000, 9_001, 20_002, 30_003])
def test_a_connection_that_is_cut_inside_a_transaction_is_made_again(filled: Online, line: servers.Line, after: int) -> None:
    line.cut_after = after
    report = behind(filled, line).publish()
    assert line.cuts == 1
    assert report.entities == ROWS
    assert report.written + report.equal >= ROWS
    assert_whole(filled)


def test_a_slow_line_takes_its_time(filled: Online, line: servers.Line) -> None:
    line.piece = 11
    assert behind(filled, line).publish().written == ROWS
    assert_whole(filled)


def test_i7_a_server_that_answers_no_more_is_told(filled: Online, line: servers.Line) -> None:
    line.still_after = 15_000
    with pytest.raises(redis.TimeoutError, match=r"too slow.* entities of machine_vitals_v1 were confirmed .* sends all"):
        behind(filled, line, socket_timeout=0.1, retry=None).publish()
    assert filled.unpublished() == ["machine_vitals_v1"]
    assert filled.publish().entities == ROWS
    assert_whole(filled)


def test_i7_a_full_server_is_told_and_the_rows_come_when_it_has_room(filled: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    write, before = module.write, filled.redis.config_get("maxmemory")["maxmemory"]
    sent: list[int] = []

    def full_then(client: redis.Redis, *rest: Any) -> Any:
        sent.append(1)
        if len(sent) == 3:
            client.config_set("maxmemory", 1)
        return write(client, *rest)

    monkeypatch.setattr(module, "write", full_then)
    try:
        with pytest.raises(redis.OutOfMemoryError, match=r"Redis is full: give it more memory.* 30 entities of"):
            filled.publish()
    finally:
        filled.redis.config_set("maxmemory", before)
    assert filled.unpublished() == ["machine_vitals_v1"]
    filled.publish()
    assert_whole(filled)


@pytest.mark.parametrize("lost", [True, False])
def test_i7_a_server_that_is_killed_and_comes_back_is_not_believed(
    filled: Online, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Killed after 30 rows; it comes back empty, or with its log of which the last second may be missing."""
    port, write, stack = free_port(), module.write, servers.ExitStack()
    options = ["appendonly no"] if lost else [f"dir {stack.enter_context(servers.folder())}"]
    make = servers.configured("valkey", options, port=port)
    stack.enter_context(running(make))
    mine = dataclasses.replace(filled, redis=redis.Redis(port=port, password=PASSWORD))

    def killing(client: redis.Redis, *rest: Any) -> Any:
        done = write(client, *rest)
        if done.written == 30:
            monkeypatch.setattr(module, "write", write)
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
            stack.enter_context(running(make))
        return done

    monkeypatch.setattr(module, "write", killing)
    with stack:
        with pytest.raises(module.StoreChanged, match="next publish"):
            mine.publish()
        assert mine.unpublished() == ["machine_vitals_v1"]
        assert mine.publish().entities == ROWS
        assert_whole(mine)


def test_i7_a_killed_server_is_told(filled: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    write = module.write
    with running(servers.configured("valkey")) as server:
        mine = dataclasses.replace(filled, redis=redis.Redis(port=server.port, password=PASSWORD, retry=None))

        def killing(client: redis.Redis, *rest: Any) -> Any:
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
            monkeypatch.setattr(module, "write", write)
            return write(client, *rest)

        monkeypatch.setattr(module, "write", killing)
        with pytest.raises(redis.ConnectionError, match=r"Is Redis running\? .* 0 entities of .* the next publish sends all"):
            mine.publish()


@pytest.mark.parametrize("kind", [pytest.param("valkey"), pytest.param("debian", marks=pytest.mark.debian_redis)])
def test_i4_a_sentinel_fails_over_in_the_middle(filled: Online, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The replica may lack what the primary confirmed last: this publish says so, the next one is whole on the new primary."""
    write = module.write
    with servers.sentinels(kind) as (url, [first, replica, _]), connect.client(url) as client:
        mine = dataclasses.replace(filled, redis=client)

        def killing(client: redis.Redis, *rest: Any) -> Any:
            monkeypatch.setattr(module, "write", write)
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
            return write(client, *rest)

        monkeypatch.setattr(module, "write", killing)
        with pytest.raises((module.StoreChanged, redis.ConnectionError), match="next publish"):
            mine.publish()
        servers.until(lambda: client.info("replication")["role"] == "master")
        assert client.connection_pool.get_master_address()[1] == replica.port != first.port
        assert mine.publish().entities == ROWS
        assert_whole(mine)
