"""What a file's units become: exact where that can be, refused where it is not certain; in the reading's own unit ever after."""

from __future__ import annotations

import subprocess
import sys

import pytest

from millwright.definitions import Reading
from millwright.landing.rows import Refused
from tests.landing.rulebook import check, check_json, dataset, one, outcome, rules


@pytest.mark.parametrize(
    ("field", "unit", "text", "expected"),
    [
        ("temperature", "degF", "32", 0),
        ("temperature", "°F", "212", 100),
        ("temperature", "degF", "-40", -40),
        ("temperature", "K", "273.15", 0),
        ("temperature", "°C", "21.5", 21.5),
        ("temperature", "degC", "0.1", 0.1),
        ("pressure", "kPa", "250", 2.5),
        ("pressure", "psi", "100", 6.894757293168361),
        ("pressure", "mbar", "1013.25", 1.01325),
        ("length", "m", "3", 3000),
        ("length", "cm", "-7", -70),
        ("temperature", "degF", "", None),
    ],
)  # fmt: skip
def test_values_land_in_the_readings_own_unit(field: str, unit: str, text: str, expected: float | None) -> None:
    assert one(field, text, dataset(units={field: unit})) == expected


def test_bounds_are_those_of_the_readings_own_unit() -> None:
    typed = check({"temperature": ["752", "753"]}, dataset(units={"temperature": "degF"}))
    assert outcome(typed, 2) == [{"temperature": 400}, ["temperature:out_of_range"]]
    assert "'753' is above 400 degC" in typed.errors[1][0]["message"]


def test_json_is_converted_too() -> None:
    told = dataset(units={"temperature": "degF"})
    assert outcome(check_json([{"temperature": 212}], told), 1) == [{"temperature": 100}]


@pytest.mark.parametrize(
    ("field", "unit", "says"),
    [
        ("temperature", "bar", "in bar in the file and in degC"),
        ("temperature", "C", "in C in the file and in degC"),
        ("temperature", "wibble", "'wibble', the unit of temperature, is no unit"),
        ("temperature", "9**9**9**9", "is no unit that is known"),
        ("temperature", "m" * 50, "is no unit that is known"),
        ("length", "inch", "would not stay whole numbers"),
        ("length", "µm", "would not stay whole numbers"),
        ("plain", "bar", "gives plain no unit"),
        ("status", "bar", "only numbers have units"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_with_certainty_refuses_the_delivery(field: str, unit: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        rules(dataset(units={field: unit}))
    assert says in str(refused.value) and "Nothing was loaded" in str(refused.value)


def test_turns_are_not_taken_for_plain_numbers() -> None:
    """pint converts rpm to Hz by 2π, because a radian has no dimension; whoever writes rpm into a file does not mean that."""
    for own, unit in (("Hz", "rpm"), ("rpm", "1/min")):
        with pytest.raises(Refused, match="Turns and angles"):
            rules(dataset({"speed": Reading(unit=own)}, units={"speed": unit}))
    typed = check({"speed": ["60"]}, dataset({"speed": Reading(unit="rad/s")}, units={"speed": "rpm"}))
    assert outcome(typed, 1)[0]["speed"] == pytest.approx(6.283185307179586, rel=1e-15)


def test_a_units_row_is_used_and_must_not_contradict() -> None:
    told = dataset()
    for row, expected in (("degF", 100), ("[°F]", 100), ("", 212), ("-", 212), ("degC", 212)):
        assert one("temperature", "212", told, units={"temperature": row, "status": "text", "odd": "furlong"}) == pytest.approx(
            expected
        )
    typed = check({"T": ["212"]}, told, units={"T": "degF"}, columns={"T": "temperature"})
    assert outcome(typed, 1) == [{"temperature": 100}]
    same = check({"temperature": ["212"]}, dataset(units={"temperature": "degF"}), units={"temperature": "°F"})
    assert outcome(same, 1) == [{"temperature": 100}]
    with pytest.raises(Refused, match=r"says K for 'temperature'.*says degF.*--unit temperature=K"):
        rules(dataset(units={"temperature": "degF"}), units={"temperature": "K"})


def test_a_value_that_no_longer_fits_is_an_error() -> None:
    typed = check({"length": ["9223372036854775", "9223372036854776"]}, dataset(units={"length": "m"}))
    assert outcome(typed, 2) == [{"length": 9223372036854775000}, ["length:out_of_range"]]
    typed = check({"pressure": ["1e308"]}, dataset(units={"pressure": "GPa"}))
    assert outcome(typed, 1) == [["pressure:out_of_range"]]


def test_pint_is_imported_only_where_units_are_converted() -> None:
    program = (
        "import sys\n"
        "from tests.landing.rulebook import check, dataset\n"
        "check({'temperature': ['1']}, dataset(units={'temperature': 'degC'}))\n"
        "assert 'pint' not in sys.modules\n"
        "check({'temperature': ['1']}, dataset(units={'temperature': 'K'}))\n"
        "assert 'pint' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
