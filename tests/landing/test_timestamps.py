"""No timestamp is shifted: what every format gives is what Python's own datetime and zoneinfo give, to the microsecond."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.definitions.datasets import Numbers, Timestamps
from millwright.definitions.patterns import compiled
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.rows import Cells, Kind
from millwright.landing.timestamps import Bounds, Moments
from tests.budget import examples

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EVER = Bounds(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC))
USUAL = Bounds(datetime(2010, 1, 1, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Caracas",
    "Africa/Casablanca",
]
moments = st.datetimes(datetime(1900, 1, 2), datetime(2037, 12, 1))  # Arrow's zones end with 2037; later is the future


@pytest.fixture(scope="module")
def casts() -> Iterator[Casts]:
    opened = Casts()
    yield opened
    opened.close()


def read(
    casts: Casts,
    texts: list[str],
    zone: str | None = None,
    bounds: Bounds = EVER,
    decimal: Any = ".",
    json: bool = False,
    **how: Any,
) -> list[datetime | str]:
    """Each text's instant, or the code and message of its first error."""
    found = Errors(len(texts))
    cells = Cells(pa.array(texts, pa.string()), np.full(len(texts), Kind.NUMBER, dtype=np.int8) if json else None)
    moment = Moments(casts, Timestamps(**how), Numbers(decimal=decimal), zone, bounds).read(cells, "ts", found)
    micros = moment.cast(pa.int64()).to_pylist()
    return [
        f"{found.rows[at][0]['code']}: {found.rows[at][0]['message']}" if at in found.rows else EPOCH + micros[at] * MICROSECOND
        for at in range(len(texts))
    ]


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(
        st.tuples(moments, st.integers(-14 * 60, 14 * 60), st.sampled_from("T "), st.integers(0, 9)), min_size=1, max_size=20
    )
)
def test_iso_with_an_offset_is_what_python_reads(casts: Casts, given: list[tuple[datetime, int, str, int]]) -> None:
    texts, wanted = [], []
    for local, minutes, between, digits in given:
        offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
        fraction = f".{local.microsecond:06d}789"[: digits + 1] if digits else ""
        texts.append(f"{local:%Y-%m-%d}{between}{local:%H:%M:%S}{fraction}{offset}")
        wanted.append(datetime.fromisoformat(texts[-1]).astimezone(UTC))
    assert read(casts, texts) == wanted


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(ZONES), st.lists(moments, min_size=1, max_size=20), st.sampled_from(["earliest", "latest", "error"]))
def test_local_times_are_what_zoneinfo_says(casts: Casts, zone: str, locals_: list[datetime], policy: Any) -> None:
    """An overlap gives the earlier or the later instant, a gap its edge; with `error` neither lands, and all others do."""
    found = read(casts, [t.isoformat(" ") for t in locals_], zone, ambiguous=policy, nonexistent=policy)
    for local, got in zip(locals_, found, strict=True):
        early, late = (local.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
        if early.utcoffset() == late.utcoffset():
            assert got == early.astimezone(UTC)
        elif policy == "error":
            exists = early.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local
            assert isinstance(got, str) and got.startswith("ambiguous_timestamp" if exists else "nonexistent_timestamp")
        elif early.astimezone(UTC) < late.astimezone(UTC):
            assert got == (early if policy == "earliest" else late).astimezone(UTC)
        else:
            assert isinstance(got, datetime)
            side = got if policy == "latest" else got + MICROSECOND
            before, after = ((side - step).astimezone(ZoneInfo(zone)).utcoffset() for step in (MICROSECOND, timedelta(0)))
            assert (before, after) == (early.utcoffset(), late.utcoffset())


@pytest.mark.parametrize("zone", ZONES)
def test_every_change_of_the_clocks_is_seen(casts: Casts, zone: str) -> None:
    """Each quarter of an hour of ten years that zoneinfo calls doubtful is an error, and no other."""
    start = datetime(2016, 1, 1)
    quarters = [start + timedelta(minutes=15 * n) for n in range(10 * 366 * 96)]
    found = Errors(len(quarters))
    text = Cells(pa.array(quarters, pa.timestamp("s")).cast(pa.string()))
    Moments(casts, Timestamps(), Numbers(), zone, EVER).read(text, "ts", found)
    info = ZoneInfo(zone)
    days = {n // 96 for n, local in enumerate(quarters) if n % 96 == 0 and _changes(local, info)}
    doubtful = {
        n
        for day in days
        for n in range(day * 96, day * 96 + 96)
        if quarters[n].replace(tzinfo=info).utcoffset() != quarters[n].replace(tzinfo=info, fold=1).utcoffset()
    }
    assert set(found.rows) == doubtful
    assert (zone in ("UTC", "Asia/Kathmandu")) == (not doubtful)


def _changes(day: datetime, zone: ZoneInfo) -> bool:
    return (day - timedelta(hours=1)).replace(tzinfo=zone).utcoffset() != (day + timedelta(hours=25)).replace(
        tzinfo=zone
    ).utcoffset()


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(
    st.sampled_from([("epoch_s", 6), ("epoch_ms", 3), ("epoch_us", 0), ("epoch_ns", -3)]),
    st.lists(st.tuples(st.integers(-(10**15), 4 * 10**15), st.text("0123456789", max_size=12)), min_size=1, max_size=20),
    st.sampled_from(".,"),
    st.booleans(),
)
def test_epochs_are_exact_and_cut_towards_the_past(
    casts: Casts, unit: tuple[str, int], numbers: list[tuple[int, str]], decimal: str, json: bool
) -> None:
    texts, wanted = [], []
    for micros, part in numbers:
        whole = int(micros / Fraction(10) ** unit[1])
        text = f"{whole}.{part}" if part else str(whole)
        texts.append(text.replace(".", decimal))
        exact = Fraction(text) * Fraction(10) ** unit[1]
        wanted.append(EPOCH + (exact.numerator // exact.denominator) * MICROSECOND)
    assert read(casts, texts, format=unit[0], decimal=decimal, json=json) == wanted


@pytest.mark.parametrize("text", ["", "1e9", "1.5.2", "0x5", "five", "1_000", "5,5", "99999999999999999999", "5 s"])
def test_what_is_no_epoch_is_an_error(casts: Casts, text: str) -> None:
    assert str(read(casts, [text], format="epoch_s")[0]).startswith("not_a_timestamp" if text else "required")


@pytest.mark.parametrize("unit", ["epoch_s", "epoch_ms", "epoch_us", "epoch_ns"])
@pytest.mark.parametrize("text", ["9223372036854775807", "9999999999999999999", "-9999999999999999999"])
def test_no_epoch_runs_over(casts: Casts, unit: str, text: str) -> None:
    """The greatest numbers are past or future, never another year."""
    assert str(read(casts, [text], format=unit, bounds=USUAL)[0]).startswith(
        "before_first_day" if text[0] == "-" else "in_future"
    )


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.datetimes(datetime(1900, 3, 1), datetime(2100, 1, 1)), min_size=1, max_size=20), st.integers(9, 15))
def test_serial_days_of_excel_are_local_times_to_the_millisecond(casts: Casts, locals_: list[datetime], digits: int) -> None:
    locals_ = [local.replace(microsecond=local.microsecond // 1000 * 1000) for local in locals_]
    texts = [f"{(local - datetime(1899, 12, 30)) / timedelta(days=1):.{digits}f}" for local in locals_]
    assert read(casts, texts, "UTC", format="excel") == [local.replace(tzinfo=UTC) for local in locals_]


def test_serial_days_need_a_zone_and_days_that_were(casts: Casts) -> None:
    assert read(casts, ["46082.5"], "Europe/Berlin", format="excel") == [datetime(2026, 3, 1, 11, tzinfo=UTC)]
    assert read(casts, ["46082,25"], "UTC", format="excel", decimal=",") == [datetime(2026, 3, 1, 6, tzinfo=UTC)]
    assert str(read(casts, ["46082.5"], format="excel")[0]).startswith("naive_timestamp")
    assert [str(got)[:15] for got in read(casts, ["60", "0", "-5"], "UTC", format="excel")] == ["not_a_timestamp"] * 3


PATTERNS = [
    "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%S%f", "%d-%b-%y %H:%M", "%a %B %d %H:%M:%S %Y",
    "%Y-%m-%d", "%H:%M:%S.%f %d/%m/%Y", "%Y/%m/%d %H:%M:%S%z", "%A, %d %B %Y %I %p", "100%% %Y.%m.%d",
]  # fmt: skip


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(PATTERNS), st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2068, 1, 1)), min_size=1, max_size=20))
def test_patterns_read_what_strptime_reads(casts: Casts, pattern: str, locals_: list[datetime]) -> None:
    texts = [local.replace(tzinfo=UTC).strftime(pattern) for local in locals_]
    wanted = [datetime.strptime(text, pattern).replace(tzinfo=UTC) for text in texts]
    assert read(casts, texts, "UTC", format=pattern) == wanted


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(PATTERNS), st.data())
def test_what_strptime_refuses_is_refused_and_what_we_refuse_beside_is_listed(
    casts: Casts, pattern: str, data: st.DataObject
) -> None:
    """Damaged texts. Python takes more than we do: one digit where numbers touch, second 60 and 61, a line break for a blank.

    We take more than Python: the seventh digit of a fraction, which is cut. What both take is the same instant.
    """
    text = data.draw(moments).replace(tzinfo=UTC).strftime(pattern)
    at = data.draw(st.integers(0, len(text) - 1))
    text = text[:at] + data.draw(st.sampled_from("0123456789 :/.-+x")) + text[at + data.draw(st.integers(0, 1)) :]
    got = read(casts, [text], "UTC", format=pattern)[0]
    try:
        wanted = datetime.strptime(text.strip(), pattern).replace(tzinfo=UTC)
    except ValueError:
        assert isinstance(got, str) or re.search(r"[0-9]{7}", text)
    else:
        assert got == wanted or (isinstance(got, str) and "%Y%m" in pattern)


@pytest.mark.parametrize(
    "pattern", ["%Y", "%H:%M", "%d.%m.%Y %M", "%Q", "%d.%m.%Y %Z", "%d %d %m %Y", "%Y-%m-%d %I", "%Y-%y-%m-%d", "%"]
)
def test_a_pattern_that_gives_no_certain_time_is_no_definition(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"%|needs|twice|without"):
        compiled(pattern)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("01/02/2026", "--timestamp-format %d/%m/%Y or %m/%d/%Y"),
        ("13/02/2026", "--timestamp-format %d/%m/%Y"),
        ("02/13/2026 10:00", "--timestamp-format '%m/%d/%Y %H:%M'"),
        ("01.02.26 10:00:00", "--timestamp-format '%d.%m.%y %H:%M:%S' or '%m.%d.%y %H:%M:%S'"),
        ("2026/03/01 10:00", "--timestamp-format '%Y/%m/%d %H:%M'"),
        ("2026-03-01", "--timestamp-format %Y-%m-%d"),
        ("2026-13-01T00:00:00Z", "is no date and time that exist"),
        ("2026-02-30T00:00:00Z", "is no date and time that exist"),
        ("2026-03-01T24:00:00Z", "write 00:00:00 of the next day"),
        ("2016-12-31T23:59:60Z", "leap second"),
        ("1772366400", "--timestamp-format epoch_s"),
        ("1772366400.5", "--timestamp-format epoch_s"),
        ("1772366400123", "--timestamp-format epoch_ms"),
        ("1772366400123456", "--timestamp-format epoch_us"),
        ("1772366400123456789", "--timestamp-format epoch_ns"),
        ("46082.5", "--timestamp-format excel"),
        ("12", "is not an ISO 8601 timestamp"),
        ("yesterday", "is not an ISO 8601 timestamp"),
    ],
)  # fmt: skip
def test_what_is_not_iso_is_told_how_to_read_it(casts: Casts, text: str, told: str) -> None:
    got = str(read(casts, [text], "UTC", USUAL)[0])
    assert got.startswith("not_a_timestamp")
    assert got.endswith(f"give {told}") if told.startswith("--") else told in got


def test_offsets_may_differ_from_row_to_row_and_be_written_in_every_iso_way(casts: Casts) -> None:
    texts = ["2026-03-01T12:00:00Z", "2026-03-01 13:00:00 +01:00", "2026-03-01t12:00z", "2026-03-01 12:00:00 UTC", "2026-03-01T07:00-05",
             "2026-03-01T12:00:00.0000009999999+00:00", "2026-03-01 13:00:00"]  # fmt: skip
    assert read(casts, texts, "Europe/Berlin") == [datetime(2026, 3, 1, 12, tzinfo=UTC)] * len(texts)


def test_a_dataset_may_have_a_beginning_and_an_end(casts: Casts) -> None:
    bounds = Bounds(USUAL.first, USUAL.last, datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
    texts = ["2019-12-31T23:59:59Z", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "2021-01-01T00:00:01Z"]
    assert [str(got).partition(":")[0] for got in read(casts, texts, bounds=bounds)] == [
        "too_early", "2020-01-01 00", "2021-01-01 00", "too_late",
    ]  # fmt: skip
