"""Proposals are files for review; accepting puts them in place, applies them and lands the file, or leaves all as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from millwright import flow
from millwright.cli import cli
from millwright.definitions import load
from millwright.definitions.load import DefinitionErrors
from millwright.platform import open_platform
from millwright.registry import apply, proposals
from millwright.settings import Settings
from tests import platforms

BOILER = (
    "Zeitstempel;Boiler-ID;Druck [bar];Temp. [°C];Status\n01.02.2026 10:00;b1;1,5;80,25;ok\n01.02.2026 10:05;b1;1,6;81,5;ok\n"
)


@pytest.fixture
def settings(tmp_path: Path, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(made, by="test")
    for name in ("postgres_url", "postgres_owner_url", "redis_url"):
        monkeypatch.setenv(f"MILLWRIGHT_{name.upper()}", made.require(name))
    monkeypatch.setenv("MILLWRIGHT_PROJECT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_text(BOILER)
    return made


def upload(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["upload", *arguments])


def tree(settings: Settings) -> dict[str, str]:
    repo = settings.feature_repo
    return {str(path.relative_to(repo)): path.read_text() for path in sorted(repo.rglob("*.yaml"))}


def test_an_unknown_dataset_is_proposed_reviewed_and_accepted(settings: Settings) -> None:
    before = tree(settings)
    proposed = upload("new.csv", "--dataset", "boiler", "--json")
    assert proposed.exit_code == 1
    told = json.loads(proposed.stdout)
    assert told["files"] == ["datasets/boiler.yaml", "feature_views/boiler_vitals_v1.yaml", "entities/boiler.yaml"]
    assert [question["about"] for question in told["questions"]] == ["timezone"]
    assert "boiler" not in load(settings.feature_repo).datasets, "a proposal is loaded as a definition"
    assert {name: text for name, text in tree(settings).items() if not name.startswith("proposed/")} == before

    refused = upload("new.csv", "--dataset", "boiler", "--accept")
    assert (refused.exit_code, "Which time zone are they in? --timezone Europe/Berlin" in refused.output) == (1, True)
    # A person answers in the file, and drops a reading; asking again keeps the edits.
    file = settings.feature_repo / "proposed/datasets/boiler.yaml"
    file.write_text(file.read_text().replace("timestamps:", "timezone: Europe/Berlin\ntimestamps:"))
    assert "timezone: Europe/Berlin" in file.read_text()
    again = upload("new.csv", "--dataset", "boiler", "--json")
    assert json.loads(again.stdout)["questions"] == []
    assert "timezone: Europe/Berlin" in file.read_text()

    accepted = upload("new.csv", "--dataset", "boiler", "--accept", "--json")
    assert accepted.exit_code == 0, accepted.output
    assert "boiler_vitals_v1 is a draft" in accepted.stderr
    assert not [name for name in tree(settings) if name.startswith("proposed/")]
    with open_platform(settings) as platform:
        list(flow.run(platform, batches=[json.loads(accepted.stdout)["batch_id"]]))
        rows = platform.conn.execute("select druck_last_1h, temp_max_1h from features.boiler_vitals_v1 order by event_timestamp")
        assert rows.fetchall() == [(1.5, 80.25), (1.6, 81.5)]
        status = platform.conn.execute("select status from catalog.feature_views where view_id = 'boiler_vitals_v1'").fetchall()
        assert status == [("draft",)]
        first = platform.conn.execute("select to_char(first_event at time zone 'UTC', 'HH24:MI') from landing.batches").fetchall()
        assert first == [("09:00",)]
    again = upload("new.csv", "--dataset", "boiler", "--json")
    assert json.loads(again.stdout)["already"]


def test_answers_on_the_command_line_are_saved_too(settings: Settings) -> None:
    done = upload("new.csv", "--dataset", "boiler", "--timezone", "Europe/Berlin", "--accept", "--json")
    assert done.exit_code == 0, done.output
    boiler = load(settings.feature_repo).datasets["boiler"]
    assert (boiler.timezone, boiler.numbers.decimal, boiler.columns["Druck [bar]"]) == ("Europe/Berlin", ",", "druck")
    assert (boiler.readings["druck"].unit, boiler.readings["temp"].unit, boiler.readings["status"].type) == (
        "bar",
        "degC",
        "string",
    )
    assert boiler.constants == {"sensor_type": "boiler"}


def test_an_existing_entity_is_taken_when_its_keys_are_there(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("ts,machine_id,type,temperature,hot\n2026-02-01T00:00:00Z,m,press,1,true\n")
    told = json.loads(upload("new.csv", "--dataset", "oven", "--json").stdout)
    assert told["files"] == ["datasets/oven.yaml", "feature_views/oven_vitals_v1.yaml"]
    proposed = (settings.feature_repo / "proposed/datasets/oven.yaml").read_text()
    assert "entity: machine" in proposed
    assert "temperature is declared by another dataset of machine" in proposed
    assert "temperature: {type: double, unit: degC}" in proposed
    assert "type: sensor_type" in proposed


def test_what_cannot_be_applied_is_a_proposal_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    upload("new.csv", "--dataset", "boiler", "--timezone", "UTC")
    before = tree(settings)

    def fails(*_: object, **__: object) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(proposals, "apply", fails)
        assert upload("new.csv", "--dataset", "boiler", "--timezone", "UTC", "--accept").exit_code == 1
    assert tree(settings) == before
    view = settings.feature_repo / "proposed/feature_views/boiler_vitals_v1.yaml"
    view.write_text(view.read_text().replace("of: druck", "of: drick"))
    broken = upload("new.csv", "--dataset", "boiler", "--timezone", "UTC", "--accept")
    assert (broken.exit_code, "did you mean druck" in broken.output) == (1, True)
    with pytest.raises(DefinitionErrors):
        proposals.edit.load_with(settings.feature_repo, ["datasets/boiler.yaml", "feature_views/boiler_vitals_v1.yaml"])
    with open_platform(settings) as platform:
        assert platform.conn.execute("select count(*) from landing.batches").fetchall() == [(0,)]


def test_a_mapping_is_saved_with_its_dataset_and_comments_stay(settings: Settings, tmp_path: Path) -> None:
    file = settings.feature_repo / "datasets/fleet.yaml"
    file.write_text("# Ours.\n" + file.read_text().replace("readings:\n", "readings:  # as delivered\n"))
    (tmp_path / "h.csv").write_text("Zeit;Wert\n01.02.2026 10:00;1,5\n")
    said = ["h.csv", "--dataset", "fleet", "--map", "Wert=temperature", "--set", "machine_id=m1", "--set", "sensor_type=press"]
    refused = upload(*said, "--accept")
    assert (refused.exit_code, "Which time zone" in refused.output) == (1, True)
    done = upload(*said, "--timezone", "Europe/Berlin", "--accept", "--json")
    assert done.exit_code == 0, done.output
    text = file.read_text()
    assert text.startswith("# Ours.\n")
    assert "readings:  # as delivered" in text
    fleet = load(settings.feature_repo).datasets["fleet"]
    assert fleet.columns == {"timestamp": "event_timestamp", "Wert": "temperature", "Zeit": "event_timestamp"}
    assert (fleet.timezone, fleet.timestamps.format, fleet.numbers.decimal) == ("Europe/Berlin", "%d.%m.%Y %H:%M", ",")
    assert fleet.constants == {}
    with open_platform(settings) as platform:
        # Which machine it is belongs to this file alone.
        ((options,),) = platform.conn.execute("select options from landing.batches").fetchall()
        assert {name: value for name, value in options.items() if value and name in ("columns", "constants", "timezone")} == {
            "constants": {"machine_id": "m1", "sensor_type": "press"}
        }
        (receipt,) = [step for step in flow.run(platform, batches=[1]) if isinstance(step, flow.Receipt)]
        assert (receipt.state, receipt.loaded) == ("landed", 1), receipt.error


def test_a_slip_of_a_name_proposes_nothing(settings: Settings) -> None:
    slip = upload("new.csv", "--dataset", "fleat")
    assert (slip.exit_code, "did you mean fleet" in slip.output, "--new" in slip.output) == (1, True, True)
    assert not (settings.feature_repo / "proposed").exists()
    assert upload("new.csv", "--dataset", "fleet2", "--new").exit_code == 1
    assert (settings.feature_repo / "proposed/datasets/fleet2.yaml").exists()
    assert upload("new.csv", "--dataset", "Boiler 7").exit_code == 1
    assert upload("new.csv", "-d", "boiler", "--accept", "--dry-run").exit_code == 2
