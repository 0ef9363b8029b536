"""What columns look like: certain, a question, or nothing. A guess that the cells do not prove is never the only one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from millwright.definitions.datasets import Numbers
from millwright.landing import guess
from millwright.landing.guess import Moments, moments


@pytest.mark.parametrize(
    ("cells", "formats", "naive"),
    [
        (["2026-03-01T00:00:00Z", "2026-03-01 00:00:00.5+01:00"], ("iso",), False),
        (["2026-03-01T00:00:00Z", "2026-03-01 00:00:00"], ("iso",), True),
        (["1767225600"], ("epoch_s",), False),
        (["1767225600000"], ("epoch_ms",), False),
        (["1767225600000000"], ("epoch_us",), False),
        (["1767225600000000000"], ("epoch_ns",), False),
        (["46000.25", "46001"], ("excel",), True),
        (["01.02.2026 10:00:00"], ("%d.%m.%Y %H:%M:%S",), True),
        (["01/02/2026 10:00"], ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"), True),
        (["01/02/2026 10:00", "13/02/2026 10:00"], ("%d/%m/%Y %H:%M",), True),
        (["02/13/2026 01:00 PM"], ("%m/%d/%Y %I:%M %p",), True),
        (["20260301101112"], ("%Y%m%d%H%M%S",), True),
        (["2026-03-01"], ("%Y-%m-%d",), True),
    ],
)
def test_times_are_told_by_every_format_that_fits_all_cells(cells: list[str], formats: tuple[str, ...], naive: bool) -> None:
    assert moments(cells, named=True) == Moments(formats, naive)


@pytest.mark.parametrize("cells", [[], ["x"], ["1.5", "2"], ["2026-03-01T00:00:00Z", "n/a"], ["46000"], ["20260301"], ["12:30"]])
def test_what_may_be_anything_is_no_time(cells: list[str]) -> None:
    assert moments(cells, named=False) is None


def test_a_slashed_date_of_every_day_of_a_year_is_certain() -> None:
    days = [datetime(2026, 1, 1, tzinfo=UTC).replace(month=1 + n // 28, day=1 + n % 28).strftime("%m/%d/%Y") for n in range(300)]
    assert moments(days, named=True) == Moments(("%m/%d/%Y",), True)


@pytest.mark.parametrize(
    ("columns", "ways"),
    [
        ([["1.5", "2"]], [("." , "")]),
        ([["1,5", "2"]], [(",", "")]),
        ([["1.234,5"]], [(",", ".")]),
        ([["1,234.5"]], [(".", ",")]),
        ([["1,234"]], [(",", ""), (".", ",")]),
        ([["1,234"], ["1,5"]], [(",", "")]),
        ([["1,5"], ["1.5"]], []),
        ([["1,23,4"]], []),
    ],
)  # fmt: skip
def test_a_comma_is_what_all_cells_allow(columns: list[list[str]], ways: list[tuple[str, str]]) -> None:
    assert guess.numbers(columns) == [Numbers(decimal=decimal, thousands=thousands) for decimal, thousands in ways]  # type: ignore[arg-type]


def test_names_and_units() -> None:
    readings = ["temperature", "vibration", "vibration_max"]
    assert [guess.close(name, readings) for name in ("TEMPERATURE", "Temp. [°C]", "Temperatur", "vib", "speed", "te")] == [
        "temperature", "temperature", "temperature", None, None, None,
    ]  # fmt: skip
    assert [guess.unit_of(name) for name in ("T [°F]", "n (1/min)", "p [bar]", "x")] == ["degF", "rpm", "bar", ""]
    assert guess.same_unit("°C", "degC")
    assert guess.same_unit("km/h", "kilometer/hour")
    assert (guess.converts("degF", "degC"), guess.converts("bar", "degC"), guess.converts("nonsense", "degC")) == (
        True,
        False,
        False,
    )
