"""A header that does not fit is refused with a proposal: what is certain as a command line, what is not as questions."""

from __future__ import annotations

import shlex

import pytest

from millwright.cli import cli
from millwright.landing.batches import Proposal
from millwright.landing.load import dry_run, land
from millwright.landing.options import delivery
from millwright.landing.receive import Delivery
from tests.landing.conftest import DEFINITIONS, Plant

FOREIGN = "Zeitstempel;Maschine;Typ;Temp. [°F];Vibration\n01.02.2026 10:00;p1;press;1,5;2\n"


def given(proposal: Proposal) -> Delivery:
    """The options of the proposed command line, read as the command reads them."""
    words = shlex.split(proposal.command)
    context = cli.get_command(None, "upload").make_context("upload", words[2:])  # type: ignore[arg-type]
    texts = {
        name: list(value) if isinstance(value, tuple) else [value]
        for name, value in context.params.items()
        if value and name not in ("files", "dataset")
    }
    return delivery(texts)


def looked(plant: Plant, content: str, **options: str) -> Proposal:
    path = plant.settings.project / "a b.csv"
    path.write_text(content)
    texts = {name: [text] for name, text in options.items()}
    receipt = dry_run(plant.conn, plant.settings, plant.definitions, path, dataset="fleet", delivery=delivery(texts))
    assert (receipt.state, receipt.proposal is not None) == ("refused", True), receipt
    assert receipt.proposal is not None
    return receipt.proposal


def test_names_cells_marks_and_units_make_a_command_line(plant: Plant) -> None:
    proposal = looked(plant, FOREIGN)
    assert given(proposal).model_dump(exclude_defaults=True) == {
        "columns": {
            "Maschine": "machine_id",
            "Typ": "sensor_type",
            "Temp. [°F]": "temperature",
            "Vibration": "vibration",
            "Zeitstempel": "event_timestamp",
        },
        "timestamps": {"format": "%d.%m.%Y %H:%M"},
        "numbers": {"decimal": ","},
        "units": {"temperature": "degF"},
    }
    assert [question.about for question in proposal.questions] == ["timezone"]
    assert proposal.command.startswith("millwright upload ")
    assert Delivery.model_validate(proposal.options) == given(proposal)
    assert [question.about for question in looked(plant, FOREIGN, timezone="Europe/Berlin").questions] == []


@pytest.mark.parametrize(
    ("content", "about"),
    [
        ("date,machine,type,temperature\n01/02/2026,m,press,1\n", ["timestamps", "timezone"]),
        ("a,b,machine_id,sensor_type,temperature\n2026-01-01T00:00:00Z,2026-01-01T00:00:01Z,m,p,1\n", ["event_timestamp"]),
        ("x,machine_id,sensor_type,temperature\n7,m,p,1\n", ["event_timestamp"]),
        ("time,temperature\n2026-01-01T00:00:00Z,1\n", ["machine_id", "sensor_type"]),
        ("time,machine,type,value\n2026-01-01T00:00:00Z,m,p,1\n", ["value"]),
        ('time,machine,type,temperature\n2026-01-01T00:00:00Z,m,p,"1,234"\n', ["numbers"]),
        ("time,machine,type,Temperature [bar]\n2026-01-01T00:00:00Z,m,p,1\n", ["temperature"]),
        ("time,machine,asset,type,temperature\n2026-01-01T00:00:00Z,m,n,p,1\n", ["machine_id"]),
    ],
)
def test_what_the_cells_do_not_prove_is_asked(plant: Plant, content: str, about: list[str]) -> None:
    proposal = looked(plant, content)
    assert [question.about for question in proposal.questions] == about
    assert not {"timezone", "numbers"} & proposal.options.keys()


def test_the_refusal_of_a_landing_carries_it_too(plant: Plant) -> None:
    receipt = plant.land("ts,asset,type,temperature,speed\n1767225600000,p,press,1,2\n")
    assert receipt.state == "refused"
    assert receipt.proposal is not None
    assert receipt.proposal.options["timestamps"] == {"format": "epoch_ms"}
    assert any("'speed' would be a new reading" in reason for reason in receipt.proposal.reasons)
    assert plant.rows("select report -> 'proposal' ->> 'command' from landing.batches") == [(receipt.proposal.command,)]
    assert plant.rows("select count(*) from warehouse.measurements") == [(0,)]


def test_what_was_said_of_an_earlier_file_with_the_header_is_said_again(plant: Plant) -> None:
    columns = {"t": "event_timestamp", "w": "temperature"}
    text = "t,w\n2026-03-01 00:00:00,1\n"
    first = plant.receive(text, columns=columns, constants={"machine_id": "m1", "sensor_type": "press"}, timezone="Europe/Berlin")
    land(plant.conn, plant.settings, plant.definitions, first.batch_id)
    proposal = looked(plant, text.replace("1\n", "2\n"))
    assert (proposal.options["columns"], proposal.options["timezone"]) == (columns, "Europe/Berlin")
    # Which machine it is is not taken over: the next file of this form is most likely another machine's.
    assert "constants" not in proposal.options
    assert [(question.about, question.answers) for question in proposal.questions] == [
        ("machine_id", ["--set machine_id=m1"]),
        ("sensor_type", ["--set sensor_type=press"]),
    ]


def test_a_file_whose_header_fits_or_that_cannot_be_read_has_no_proposal(plant: Plant) -> None:
    for content in (b"", b"timestamp,timestamp\n1,2\n", b"a,b\n\x00,1\n"):
        assert plant.land(content).proposal is None
    assert plant.land("timestamp,machine_id,sensor_type,temperature\nx,m,p,1\n").proposal is None


def test_cells_of_sensitive_fields_are_not_shown(plant: Plant) -> None:
    fleet = DEFINITIONS.datasets["fleet"].model_copy(update={"sensitive": ["event_timestamp"]})
    plant.definitions = DEFINITIONS.model_copy(update={"datasets": {"fleet": fleet}})
    shown = looked(plant, "timestamp,machine,type,temperature\nsecret,m,p,1\n").model_dump_json()
    assert "How are the times" in shown
    assert "secret" not in shown
