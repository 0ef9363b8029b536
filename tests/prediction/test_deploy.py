"""deploy: an ONNX file becomes a version of a model, or is refused with the place of the mistake and nothing kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from millwright.cli import main
from millwright.definitions import DefinitionErrors, load
from millwright.prediction.served import ServedModels, UnknownModel
from millwright.prediction.session import ChangedFile, load_session
from millwright.registry import VersionChanged, apply, deploy, read_models, set_status
from millwright.registry.deploy import CannotDeploy
from millwright.registry.status import StatusRefused
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests import platforms
from tests.prediction.onnx_files import DOUBLE, FLOAT, INT64, STRING, named, weighted

VIEW = "machine_vitals_v1"
TWO = [f"{VIEW}:temperature_last", f"{VIEW}:readings_count_1h"]


@pytest.fixture
def settings(tmp_path: Path, database: str, redis_url: str) -> Settings:
    found = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(found)
    return found


def served(settings: Settings) -> ServedModels:
    with connect(settings.require("postgres_reader_url"), autocommit=True) as conn:
        return ServedModels.from_catalog(conn)


def kept(settings: Settings) -> list[str]:
    return sorted(path.name for path in (settings.feature_repo / "models").glob("*"))


def test_a_model_is_a_file_with_its_bytes_and_a_version(settings: Settings, tmp_path: Path) -> None:
    file = weighted(tmp_path / "any name.onnx", [1.0, 2.0])
    made = deploy(settings, file, name="wear", features=["machine_vitals:temperature_last", TWO[1]], owner="a@example.com")
    assert (made.model_id, made.status, made.already, made.inputs, made.outputs) == ("wear_v1", "active", False, TWO, ["score"])
    assert kept(settings) == ["wear_v1.onnx", "wear_v1.yaml"]
    text = Path(made.file).read_text()
    assert text.startswith("# yaml-language-server: $schema=../schemas/model.json\nmodel: wear\nversion: 1\n")
    again = deploy(settings, file, name="wear", features=TWO)
    assert (again.model_id, again.already, Path(again.file).read_text()) == ("wear_v1", True, text)
    second = deploy(settings, weighted(file, [1.0, 3.0]), name="wear", features=TWO)
    assert (second.model_id, second.status) == ("wear_v2", "draft")
    assert served(settings).model("wear").definition.version == 1
    set_status(settings, "wear_v2", "active")
    assert served(settings).model("wear").definition.version == 2
    assert served(settings).model("wear_v1").status == "deprecated"
    with pytest.raises(StatusRefused, match="read by the model wear_v1 and wear_v2"):
        retire_view(settings)
    set_status(settings, "wear_v1", "retired")
    with pytest.raises(UnknownModel, match="wear_v1 is retired; active is wear_v2"):
        served(settings).model("wear_v1")
    with pytest.raises(UnknownModel, match=r"no model waer \(did you mean wear\?\)"):
        served(settings).model("waer")
    with connect(settings.require("postgres_reader_url"), autocommit=True) as conn:
        assert [(one.model_id, one.status) for one in read_models(conn).models] == [("wear_v1", "retired"), ("wear_v2", "active")]


def retire_view(settings: Settings) -> None:
    set_status(settings, VIEW, "deprecated")
    set_status(settings, VIEW, "retired")


@pytest.mark.parametrize(
    ("file", "options", "where", "what"),
    [
        ({"weights": [1.0] * 3}, {}, "features", "takes 3 columns, and these are 2 features (temperature_last, readings_count_1h)"),
        ({"weights": [1.0] * 2, "rows": 1}, {}, "onnx.file", "has the shape [1, 2]"),
        ({"inputs": {"temperature_last": DOUBLE, "lost": INT64}}, {}, "features", "has an input lost: no feature here is called so"),
        ({"inputs": {"temperature_last": INT64, "readings_count_1h": INT64}}, {}, "features.0", "temperature_last is double"),
        ({"inputs": {"temperature_last": FLOAT, "readings_count_1h": STRING}}, {}, "features.1", "readings_count_1h is int64"),
        ({"data": b"no model"}, {}, "onnx.file", "ONNX Runtime does not load it"),
        ({"weights": [1.0]}, {"features": [f"{VIEW}:temperature_lst"]}, "features.0", "did you mean temperature_last?"),
        ({"weights": [1.0]}, {"features": [TWO[0]] * 2}, "features.1", "have one name"),
        ({"weights": [1.0]}, {"on_missing": "impute", "impute": {"temperature_lst": 1.0}}, "impute.temperature_lst", "did you mean"),
        ({"weights": [1.0]}, {"on_missing": "impute", "impute": {TWO[1].split(":")[1]: 1.5}}, "impute", "is int64, got 1.5"),
        ({"weights": [1.0]}, {"name": "machine_vitals"}, "model", "a feature view is called machine_vitals"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_what_does_not_fit_is_told_by_file_line_and_field(
    settings: Settings, tmp_path: Path, file: dict[str, Any], options: Mapping[str, Any], where: str, what: str
) -> None:
    path = tmp_path / "m.onnx"
    if "data" in file:
        path.write_bytes(file["data"])
    elif "inputs" in file:
        named(path, file["inputs"])
    else:
        weighted(path, file["weights"], rows=file.get("rows"))
    name = options.get("name", "wear")
    with pytest.raises(DefinitionErrors) as raised:
        deploy(settings, path, **{"name": "wear", "features": TWO, **options})
    error = next((each for each in raised.value.errors if what in each.message), raised.value.errors[0])
    assert (error.file, error.field.startswith(where), what in error.message) == (f"models/{name}_v1.yaml", True, True), str(
        error
    )
    assert error.line > 1
    assert kept(settings) == []
    assert served(settings).models == {}


def test_no_definition_at_all(settings: Settings, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = weighted(tmp_path / "m.onnx", [1.0])
    for options, what in (
        ({"name": "../wear"}, "model: String should match"),
        ({"on_missing": "impute"}, "--impute FEATURE=VALUE"),
        ({"impute": {"temperature_last": 1.0}}, "neither on_missing nor on_stale is impute"),
        ({"on_missing": "impute", "impute": {"temperature_last": float("nan")}}, "impute"),
    ):
        with pytest.raises(CannotDeploy, match=what):
            deploy(settings, file, **{"name": "wear", "features": TWO[:1], **options})
    assert kept(settings) == []
    for name in ("postgres_url", "postgres_owner_url", "redis_url"):
        monkeypatch.setenv(f"MILLWRIGHT_{name.upper()}", settings.require(name))
    monkeypatch.setenv("MILLWRIGHT_PROJECT", str(settings.project))
    with pytest.raises(SystemExit) as ended:
        main(["deploy", str(file), "--name", "wear", "--features", "machine_vital"])
    assert ended.value.code == 1
    assert "applied are machine_vitals_v1" in capsys.readouterr().err


def test_before_the_first_apply_it_says_what_to_do(tmp_path: Path, empty_database: str, redis_url: str) -> None:
    untouched = platforms.settings(tmp_path, empty_database, redis_url, feast=False)
    with pytest.raises(CannotDeploy, match="run `millwright apply`"):
        deploy(untouched, weighted(tmp_path / "m.onnx", [1.0]), name="wear", features=TWO[:1])
    assert kept(untouched) == []
    with connect(untouched.require("postgres_owner_url"), autocommit=True) as conn:
        assert ServedModels.from_catalog(conn).models == {} and read_models(conn).models == []


def test_a_changed_file_is_refused(settings: Settings, tmp_path: Path) -> None:
    made = deploy(settings, weighted(tmp_path / "m.onnx", [1.0]), name="wear", features=TWO[:1])
    definition = served(settings).model("wear").definition
    weighted(Path(made.onnx), [2.0])
    with pytest.raises(ChangedFile, match="deploy the changed one as a new version"):
        load_session(settings.feature_repo, definition)
    with pytest.raises(DefinitionErrors, match=r"models/wear_v1.yaml:4: onnx.sha256: .* put that file"):
        apply(settings)
    Path(made.onnx).unlink()
    with pytest.raises(DefinitionErrors, match=r"models/wear_v1.onnx is not there"):
        load(settings.feature_repo)
    weighted(Path(made.onnx), [1.0])
    text = Path(made.file).read_text()
    Path(made.file).write_text(text.replace("on_stale: refuse", "on_stale: use"))
    with pytest.raises(VersionChanged, match="deploy the change as a new version"):
        apply(settings)
    Path(made.file).write_text(text + "description: What it does.\n")
    assert [(one.model_id, one.action) for one in apply(settings).models] == [("wear_v1", "updated")]
