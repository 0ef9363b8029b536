"""Deliveries over HTTP against a real uvicorn: what is whole is planned once, what is not leaves nothing (I2, I7)."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from starlette.requests import Request

from millwright.definitions import load
from millwright.landing.load import land
from millwright.serving import keys, uploads
from millwright.serving.problems import Refused
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests import platforms
from tests.live.up import until
from tests.serving.server import uvicorn

LIMIT = 4_000_000
TEXT = (
    "timestamp,machine_id,sensor_type,temperature\n2026-03-01T00:00:00Z,press-1,press,1\n2026-03-01T00:01:00Z,press-1,press,x\n"
)
SIZE, SHA256 = len(TEXT), hashlib.sha256(TEXT.encode()).hexdigest()


@dataclass
class Api:
    url: str
    conn: psycopg.Connection[Any]
    settings: Settings
    keys: dict[str, str]

    def put(self, content: Any = TEXT, *, key: str = "upload", dataset: str = "fleet", **query: Any) -> httpx.Response:
        return httpx.put(
            f"{self.url}/v1/datasets/{dataset}/uploads",
            params={"filename": "a.csv", **query}, content=content, headers=self.header(key), timeout=30,
        )  # fmt: skip

    def header(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}"} if key else {}

    def get(self, path: str, key: str = "upload") -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=self.header(key))

    def batches(self) -> list[tuple[Any, ...]]:
        return self.conn.execute("select file_name, file_bytes, planned_by from landing.batches order by batch_id").fetchall()

    def kept(self) -> list[str]:
        """Every file of the landing zone."""
        return sorted(path.name for path in self.settings.zone.rglob("*") if path.is_file())


@pytest.fixture
def api(tmp_path: Path, app_url: str) -> Iterator[Api]:
    """No Redis is asked for anything here."""
    made = platforms.settings(tmp_path, app_url, "redis://127.0.0.1:1/0", feast=False)
    settings = made.model_copy(update={"max_file_bytes": LIMIT})
    with connect(app_url, autocommit=True) as conn:
        known = {name: keys.create_key(conn, name=name, scopes=[name]).key for name in ("upload", "read", "admin")}
        with uvicorn(settings, MILLWRIGHT_MAX_FILE_BYTES=str(LIMIT)) as url:
            yield Api(url, conn, settings, known)


def raw(api: Api, *headers: str, body: bytes = b"") -> socket.socket:
    """A connection on which the request's head and a part of its body were sent."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    link = socket.create_connection((host, int(port)), timeout=20)
    lines = [
        "PUT /v1/datasets/fleet/uploads?filename=a.csv HTTP/1.1",
        "Host: test",
        f"Authorization: Bearer {api.keys['upload']}",
    ]
    link.sendall("\r\n".join([*lines, *headers, "", ""]).encode() + body)
    return link


def test_a_file_is_received_once_and_its_receipt_and_bytes_come_back(api: Api) -> None:
    first = api.put(filename="März 1.csv")
    assert (first.status_code, first.headers["location"]) == (201, f"/v1/batches/{first.json()['batch_id']}")
    assert {
        "dataset": "fleet",
        "sha256": SHA256,
        "file_bytes": SIZE,
        "already": False,
        "state": "planned",
    }.items() <= first.json().items()
    again = api.put(filename="other.csv")
    assert (again.status_code, again.json()["already"], again.json()["batch_id"]) == (200, True, first.json()["batch_id"])
    ((name, size, by),) = api.batches()
    assert (name, size) == ("März 1.csv", SIZE)
    assert by.startswith("key ")
    assert api.put(correction="true").status_code == 201  # other settings are another delivery

    land(api.conn, api.settings, load(api.settings.feature_repo), first.json()["batch_id"])
    receipt = api.get(first.headers["location"]).json()
    assert [receipt[name] for name in ("state", "received", "loaded", "quarantined")] == ["landed", 2, 1, 1]

    back = api.get(f"/v1/uploads/{SHA256}", "admin")
    assert (back.status_code, back.text) == (200, TEXT)
    assert back.headers["content-type"] == "application/octet-stream"
    assert back.headers["x-content-type-options"] == "nosniff"
    assert back.headers["content-disposition"] == "attachment; filename*=UTF-8''a.csv"
    (api.settings.zone / SHA256[:2] / SHA256).unlink()
    assert api.get(f"/v1/uploads/{SHA256}", "admin").status_code == 410


def test_options_are_those_of_the_command(api: Api) -> None:
    query = {
        "map": ["t=event_timestamp", "a=b=temperature"], "set": ["machine_id=m", "sensor_type=press"], "timezone": "Europe/Berlin",
        "delimiter": "tab", "decimal": ",", "units_row": "true", "header": "t,a=b", "timestamp_format": "%d.%m.%Y",
        "unit": "temperature=degF", "footer": ["Sum", "End"], "missing": "-", "historical": "true",
    }  # fmt: skip
    assert api.put("x", **query).status_code == 201
    ((options,),) = api.conn.execute("select options from landing.batches").fetchall()
    assert (options["columns"], options["format"]["delimiter"]) == ({"t": "event_timestamp", "a=b": "temperature"}, "\t")
    assert (options["numbers"]["decimal"], options["timestamps"]["format"]) == (",", "%d.%m.%Y")
    assert (options["format"]["footer"], options["format"]["header"]) == (["Sum", "End"], ["t", "a=b"])
    assert (options["units"], options["missing"], options["historical"]) == ({"temperature": "degF"}, ["-"], True)


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"key": ""}, 401, "keys create"),
        ({"key": "wrong"}, 401, "not a key of this platform"),
        ({"key": "read"}, 403, "no scope upload"),
        ({"dataset": "fleat"}, 404, "did you mean fleet"),
        ({"filename": ""}, 422, "filename"),
        ({"filename": "///"}, 422, "no name"),
        ({"timezone": "Europe/Berln"}, 422, "Europe/Berlin"),
        ({"timezon": "UTC"}, 422, "did you mean timezone"),
        ({"set": "machine=1"}, 422, "did you mean machine_id"),
        ({"map": "t"}, 422, "column=field"),
        ({"timezone": ["UTC", "Europe/Berlin"]}, 422, "given 2 times"),
        ({"delimiter": "ab"}, 422, "--delimiter"),
        ({"correction": "maybe"}, 422, "correction is true or false"),
    ],
)
def test_what_is_refused_says_why_and_leaves_nothing(api: Api, changes: dict[str, Any], status: int, message: str) -> None:
    api.keys["wrong"] = "mw_wrong"
    answer = api.put(**changes)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "message"}), answer.text
    assert message in answer.json()["message"]
    assert (api.batches(), api.kept()) == ([], [])


def test_only_admin_gets_bytes_and_only_of_deliveries(api: Api) -> None:
    api.put()
    assert api.get(f"/v1/uploads/{SHA256}", "upload").status_code == 403
    assert api.get(f"/v1/uploads/{SHA256}", "").status_code == 401
    assert api.get(f"/v1/uploads/{'0' * 64}", "admin").json()["error"] == "unknown_upload"
    (api.settings.zone / "secret").write_text("x")
    for path in ("secret", "../secret", "%2e%2e%2fsecret", "..%2F..%2Fstack.env", SHA256.upper()):
        assert api.get(f"/v1/uploads/{path}", "admin").status_code == 404
    for path, key, status in (
        ("1", "read", 403),
        ("1", "", 401),
        ("99", "upload", 404),
        (str(2**70), "upload", 404),
        ("x", "upload", 422),
    ):
        assert api.get(f"/v1/batches/{path}", key).status_code == status


def test_a_declared_length_over_the_limit_is_refused_before_the_body(api: Api) -> None:
    with raw(api, f"Content-Length: {10 * 1024**3}", "Expect: 100-continue") as link:
        answer = http.client.HTTPResponse(link)
        answer.begin()
        assert (answer.status, f"larger than {LIMIT:,} bytes" in answer.read().decode()) == (413, True)
        assert link.recv(1) == b"", "the connection is not closed"
    # A client that sends at once hears it too.
    huge = api.put((b"x" * 65536 for _ in range(1000)), key="upload")
    assert huge.status_code == 413
    assert (api.batches(), api.kept()) == ([], [])


def test_a_body_without_a_length_is_capped_as_it_comes(api: Api) -> None:
    sent = []

    def body() -> Iterator[bytes]:
        for _ in range(200):
            sent.append(1)
            yield b"x" * 100_000

    answer = api.put(body())
    assert (answer.status_code, "Nothing was kept" in answer.json()["message"]) == (413, True)
    assert (api.batches(), api.kept()) == ([], [])
    under = api.put(b"x" * 65536 for _ in range(LIMIT // 65536))
    assert under.status_code == 201
    assert under.json()["file_bytes"] == LIMIT // 65536 * 65536


@pytest.mark.parametrize("head", [["Content-Length: 3000000"], ["Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_a_body_that_is_cut_off_leaves_nothing(api: Api, head: list[str]) -> None:
    body = b"x" * 2_500_000
    link = raw(api, *head, body=body if "Length" in head[0] else b"%x\r\n%s\r\n" % (len(body), body))
    until(lambda: any(name.endswith(".part") for name in api.kept()), "the body does not arrive")
    link.close()
    until(lambda: not api.kept(), "the part of the body stays")
    assert api.batches() == []
    assert api.put().status_code == 201


def test_an_upload_that_stands_still_blocks_nobody(api: Api) -> None:
    """The event loop and the workers are free while bodies are on their way."""
    links = [raw(api, "Content-Length: 3000000", body=b"x" * 1_200_000) for _ in range(60)]
    until(lambda: len(api.kept()) == 60, "the bodies do not arrive")
    assert httpx.get(f"{api.url}/healthz", timeout=5).status_code == 200
    assert api.put().status_code == 201
    for link in links:
        link.close()
    until(lambda: api.kept() == [SHA256], "the parts stay")


def test_a_body_that_stands_still_is_given_up_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, so that a minute is short."""
    pieces = [{"type": "http.request", "body": b"x" * 2_000_000, "more_body": True}]

    async def receive() -> Any:
        return pieces.pop() if pieces else await asyncio.sleep(60)

    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.05)
    settings = Settings(project=tmp_path)
    with pytest.raises(Refused, match="nothing of the body came") as caught:
        asyncio.run(uploads._kept(Request({"type": "http", "method": "PUT", "headers": []}, receive), settings))
    assert caught.value.status == 408
    assert [path for path in settings.zone.rglob("*") if path.is_file()] == []


def test_the_same_file_at_once_is_one_batch(api: Api) -> None:
    gate = threading.Barrier(8)

    def deliver(_: int) -> httpx.Response:
        gate.wait()
        return api.put()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(deliver, range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["batch_id"] for answer in answers}) == 1
    assert (len(api.batches()), api.kept()) == (1, [SHA256])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("a\nb\r\x00.csv", "a_b__.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\x.csv", "x.csv"),
        ("a/" + "ä" * 300 + ".csv", "ä" * 195 + "….csv"),
        ('"; drop table x; --.csv', '"; drop table x; --.csv'),
        ("\u202egpj.csv", "_gpj.csv"),
    ],
)
def test_odd_names_are_one_short_line(api: Api, given: str, told: str) -> None:
    received = api.put(filename=given)
    assert (received.status_code, received.json()["file_name"]) == (201, told)
    back = api.get(f"/v1/uploads/{SHA256}", "admin")
    assert back.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(told, safe='')}"


def test_a_full_landing_zone_is_told_and_keeps_nothing(tmp_path: Path, app_url: str) -> None:
    """The zone's file system is a tmpfs of 1 MB where the machine lets us make one."""
    zone = tmp_path / "small"
    zone.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(zone)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        settings = platforms.settings(tmp_path, app_url, "redis://127.0.0.1:1/0", feast=False)
        with connect(app_url, autocommit=True) as conn, uvicorn(settings, MILLWRIGHT_LANDING_ZONE=str(zone)) as url:
            key = keys.create_key(conn, name="k", scopes=["upload"]).key
            api = Api(url, conn, settings.model_copy(update={"landing_zone": zone}), {"upload": key})
            answer = api.put(b"x" * 2_000_000)
            assert (answer.status_code, answer.json()["error"]) == (507, "landing_zone_full")
            assert (api.batches(), api.kept()) == ([], [])
            assert api.put().status_code == 201
    finally:
        subprocess.run(["umount", str(zone)], check=True)


def test_the_documentation_names_every_option(api: Api) -> None:
    paths = httpx.get(f"{api.url}/openapi.json").json()["paths"]
    names = {each["name"] for each in paths["/v1/datasets/{dataset}/uploads"]["put"]["parameters"]}
    assert {"dataset", "filename", "map", "skip_lines", "repairs"} <= names
