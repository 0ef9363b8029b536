"""apply: what files say becomes true, once; what it must not do, it refuses before anything is changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from millwright.definitions import DefinitionErrors, Definitions, FeatureView
from millwright.features import compiled, windows
from millwright.registry import VersionChanged, applied, apply, read_catalog, set_status
from millwright.registry.catalog import UnknownView
from millwright.registry.status import StatusRefused
from millwright.settings import NotConfigured, Settings
from millwright.warehouse.connect import connect
from tests import platforms

VIEW = "feature_views/machine_vitals_v1.yaml"


@pytest.fixture
def settings(tmp_path: Path, database: str, redis_url: str) -> Settings:
    return platforms.settings(tmp_path, database, redis_url, feast=False)


@pytest.fixture
def untouched(tmp_path: Path, empty_database: str, redis_url: str) -> Settings:
    """As on the first day: not even migrated."""
    return platforms.settings(tmp_path, empty_database, redis_url, feast=False)


def edit(settings: Settings, before: str, after: str, file: str = VIEW, to: str | None = None) -> Path:
    path = settings.feature_repo / file
    text = path.read_text()
    assert before in text
    target = settings.feature_repo / (to or file)
    target.write_text(text.replace(before, after))
    return target


def second_version(settings: Settings) -> None:
    edit(settings, "version: 1", "version: 2", to="feature_views/machine_vitals_v2.yaml")


def statuses(settings: Settings) -> dict[str, str]:
    with connect(settings.require("postgres_reader_url")) as conn:
        return {view.view_id: view.status for view in applied(conn).values()}


def test_a_plan_changes_nothing(untouched: Settings) -> None:
    report = apply(untouched, plan=True)
    assert [(view.view_id, view.action, view.status) for view in report.views] == [("machine_vitals_v1", "created", "active")]
    with connect(untouched.require("postgres_owner_url")) as conn:
        assert conn.execute("select to_regnamespace('catalog')").fetchone() == (None,)


def test_apply_and_again(untouched: Settings) -> None:
    first = apply(untouched, by="ada")
    assert first.changed
    again = apply(untouched, by="bob")
    assert not again.changed or again.feast  # without feature_store.yaml the report says so each time
    assert [view.action for view in again.views] == ["unchanged"]
    with connect(untouched.require("postgres_owner_url")) as conn:  # as a release stored it that had no such field
        conn.execute("update catalog.feature_views set definition = definition - 'every' #- '{source,feature_set}'")
    assert [view.action for view in apply(untouched, plan=True).views] == ["unchanged"]
    with connect(untouched.require("postgres_reader_url")) as conn:
        (view,) = read_catalog(conn, "machine_vitals").views
        assert (view.applied_by, view.status, view.join_keys) == ("ada", "active", {"machine_id": "string"})
        feature = view.features[4]
        assert (feature.name, feature.type, feature.unit) == ("temperature_last", "double", "degC")
        assert feature.description == "Latest temperature."
        assert conn.execute("select count(*) from features.machine_vitals_v1").fetchone() == (0,)
    with connect(untouched.require("postgres_url")) as conn:
        (compiled,) = conn.execute("select sql from catalog.compiled where dialect = 'duckdb'").fetchall()
        assert "temperature_last" in compiled[0]


def test_only_what_changed_is_compiled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(settings)
    second_version(settings)
    made = []

    def compile_view(definitions: Definitions, view: FeatureView) -> dict[str, str]:
        made.append(view.id)
        return {"duckdb": "select 1"}

    monkeypatch.setattr(windows, "compile_view", compile_view)
    apply(settings)
    apply(settings)
    assert made == ["machine_vitals_v2"]
    monkeypatch.setattr(compiled, "_compiler", lambda: "of a later release")
    apply(settings)
    assert made[1:] == ["machine_vitals_v1", "machine_vitals_v2"]


def test_prose_may_change_under_a_version(settings: Settings) -> None:
    apply(settings)
    edit(settings, "Latest temperature.", "The newest temperature.")
    assert [view.action for view in apply(settings).views] == ["updated"]
    with connect(settings.require("postgres_reader_url")) as conn:
        assert read_catalog(conn, "machine_vitals_v1").views[0].features[4].description == "The newest temperature."


def test_a_changed_meaning_needs_a_new_version(settings: Settings) -> None:
    apply(settings)
    edit(settings, "of: temperature, window: 1h, description: Mean", "of: temperature, window: 2h, description: Mean")
    for plan in (True, False):
        with pytest.raises(VersionChanged, match=r"feature_views/machine_vitals_v1\.yaml.*make machine_vitals_v2\.yaml"):
            apply(settings, plan=plan)


def test_all_mistakes_are_told_and_nothing_is_applied(settings: Settings) -> None:
    edit(settings, "aggregate: mean", "aggregate: median")
    with pytest.raises(DefinitionErrors, match="median"):
        apply(settings)


def test_versions_draft_active_deprecated_retired(settings: Settings) -> None:
    apply(settings)
    second_version(settings)
    assert [(view.view_id, view.status) for view in apply(settings).views][1] == ("machine_vitals_v2", "draft")
    with pytest.raises(StatusRefused, match="never served"):
        set_status(settings, "machine_vitals_v2", "deprecated")
    with pytest.raises(StatusRefused, match=r"activate another version first \(machine_vitals_v2\)"):
        set_status(settings, "machine_vitals_v1", "retired")
    report = set_status(settings, "machine_vitals_v2", "active")
    assert (report.before, report.also) == ("draft", "machine_vitals_v1")
    assert statuses(settings) == {"machine_vitals_v1": "deprecated", "machine_vitals_v2": "active"}
    set_status(settings, "machine_vitals_v1", "retired")
    with pytest.raises(StatusRefused, match="Make a new version"):
        set_status(settings, "machine_vitals_v1", "active")
    apply(settings)
    assert statuses(settings) == {"machine_vitals_v1": "retired", "machine_vitals_v2": "active"}
    with pytest.raises(UnknownView, match="applied are machine_vitals_v1, machine_vitals_v2"):
        set_status(settings, "machine_vitals_v3", "active")


def test_two_versions_at_once_the_first_is_active(settings: Settings) -> None:
    second_version(settings)
    apply(settings)
    assert statuses(settings) == {"machine_vitals_v1": "active", "machine_vitals_v2": "draft"}


def test_a_removed_file_deletes_nothing(settings: Settings) -> None:
    second_version(settings)
    apply(settings)
    (settings.feature_repo / VIEW).unlink()
    report = apply(settings)
    assert [(view.view_id, view.action) for view in report.views] == [
        ("machine_vitals_v1", "missing"),
        ("machine_vitals_v2", "unchanged"),
    ]
    assert statuses(settings)["machine_vitals_v1"] == "active"


def test_the_reader_reads_and_cannot_write(settings: Settings) -> None:
    apply(settings)
    with connect(settings.require("postgres_reader_url"), autocommit=True) as conn:
        for table in ("catalog.feature_views", "catalog.features", "catalog.entities", "features.machine_vitals_v1"):
            conn.execute(f"select * from {table}")  # type: ignore[arg-type]
        for statement in (
            "update catalog.feature_views set status = 'retired'",
            "delete from catalog.features",
            "insert into catalog.compiled values ('machine_vitals_v1', 'x', 'y')",
            "delete from features.machine_vitals_v1_history",
            "select * from serving.keys",
            "select * from landing.batches",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
    with connect(settings.require("postgres_url"), autocommit=True) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("update catalog.feature_views set status = 'retired'")


def test_those_who_wait_for_changes_are_told(settings: Settings) -> None:
    with connect(settings.require("postgres_reader_url"), autocommit=True) as conn:
        conn.execute("listen millwright")
        apply(settings)
        assert [note.payload for note in conn.notifies(timeout=10, stop_after=1)] == ["applied"]


def test_two_at_once_do_not_disturb_each_other(settings: Settings) -> None:
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: apply(settings), range(2)))
    assert sorted(view.action for report in reports for view in report.views) == ["created", "unchanged"]


def test_without_a_stack_it_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(NotConfigured, match="millwright up"):
        apply(settings.model_copy(update={"postgres_owner_url": None}))


def test_a_webserver_that_is_not_there_is_no_error(settings: Settings) -> None:
    assert "no webserver is configured" in apply(settings).reload
    report = apply(settings.model_copy(update={"webserver_port": 1}))
    assert report.reload == "no webserver is running: nothing to reload"
