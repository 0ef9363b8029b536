"""The commands `deploy`, `models` and `predict`. Does not: what they do (registry/, prediction/), the log (serving/)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from pydantic import BaseModel, ConfigDict

from millwright.commands.entity import entity_of
from millwright.commands.output import Done, command, rows
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.prediction.predict import Predictions
    from millwright.registry import DeployReport, ModelsReport


def _deployed_text(report: DeployReport) -> str:
    what = "was deployed already" if report.already else "is deployed"
    lines = [
        f"{report.model_id} {what}: {report.status}. Written: {report.file} and {Path(report.onnx).name}.",
        f"It reads {len(report.inputs)} features ({', '.join(report.inputs)}) and answers {', '.join(report.outputs)}.",
        *(f"Feast: {line}" for line in report.feast),
        f"Dagster: {report.reload}",
    ]
    if report.status == "draft":
        lines.append(f"Try it by its version; `millwright activate {report.model_id}` makes it what the bare name means.")
    return "\n".join(lines)


@command(text=_deployed_text)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", required=True, help="What the model is called, such as press_failures.")
@click.option(
    "--features",
    multiple=True,
    required=True,
    metavar="VIEW[:FEATURE,…]",
    help="What it reads, in its order; may be given again.",
)
@click.option("--on-missing", type=click.Choice(["refuse", "impute"]), default="refuse", show_default=True)
@click.option("--on-stale", type=click.Choice(["refuse", "impute", "use"]), default="refuse", show_default=True)
@click.option("--impute", multiple=True, metavar="FEATURE=VALUE", help="The value where one is missing; may be given again.")
@click.option("--description", default="", help="What it predicts.")
@click.option("--owner", default="", help="Who answers for it.")
def deploy(
    file: Path,
    name: str,
    features: tuple[str, ...],
    on_missing: Literal["refuse", "impute"],
    on_stale: Literal["refuse", "impute", "use"],
    impute: tuple[str, ...],
    description: str,
    owner: str,
) -> DeployReport:
    """Make FILE (ONNX) a version of a model: write its definition and its bytes into feature_repo/models, and apply it.

    The first version of a name is active; a later one is a draft until `millwright activate`.
    """
    from millwright.registry import deploy as run

    return run(
        Settings(),
        file,
        name=name,
        features=[reference for each in features for reference in _references(each)],
        on_missing=on_missing,
        on_stale=on_stale,
        impute=dict(_value(pair) for pair in impute),
        description=description,
        owner=owner,
    )


def _references(text: str) -> list[str]:
    """`view` as it is, `view:a,b` as `view:a` and `view:b`."""
    view, colon, names = text.partition(":")
    return [f"{view}:{name.strip()}" for name in names.split(",")] if colon else [view]


def _value(pair: str) -> tuple[str, Any]:
    """`name=text` as YAML would read the text: 1 is whole, 1.0 a double, true a truth, the rest text."""
    from ruamel.yaml import YAML

    name, found, text = pair.partition("=")
    if not found:
        raise click.UsageError(f"{pair!r}: write feature=value")
    value = YAML(typ="safe").load(text)
    return name, value if isinstance(value, bool | int | float | str) else text


def _models_text(report: ModelsReport) -> Any:
    return rows(report.models) if report.models else "No model is deployed: `millwright deploy FILE --name … --features …` does."


@command(text=_models_text)
def models() -> ModelsReport:
    """The deployed models, every version of each."""
    from millwright.registry import read_models
    from millwright.warehouse.connect import connect

    settings = Settings()
    role = "postgres_reader_url" if settings.postgres_reader_url else "postgres_url"
    with connect(settings.require(role), autocommit=True) as conn:
        return read_models(conn)


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)

    feature: str
    value: str
    status: str
    event_timestamp: str
    imputed: bool


def _predicted_text(answer: Predictions) -> Any:
    from rich.console import Group

    (one,) = answer.predictions
    head = f"{answer.model_id} ({answer.status}) "
    told = ", ".join(f"{name} {value}" for name, value in (one.outputs or {}).items())
    lines = [
        _Line(
            feature=name,
            value="" if each.value is None else f"{each.value}",
            status=each.status,
            event_timestamp=each.event_timestamp.isoformat() if each.event_timestamp else "",
            imputed=each.imputed,
        )
        for name, each in one.features.items()
    ]
    found = (("Missing", one.missing), ("Stale", one.stale)) if one.outputs is not None else ()  # a refusal names them itself
    named = [f"{word}: {', '.join(names)}." for word, names in found if names]
    return Group(head + (told if one.outputs is not None else f"refused: {one.reason}."), *named, rows(lines))


@command(text=_predicted_text)
@click.argument("model")
@click.argument("keys", nargs=-1, required=True, metavar="KEY=VALUE…")
def predict(model: str, keys: tuple[str, ...]) -> Done:
    """Predict for an entity from its features as they are online. MODEL is a name or a version.

    Exit code 3: the model's policy refused it, because features are missing or stale.
    """
    from millwright.online.connect import client as redis_client
    from millwright.online.served import Served
    from millwright.prediction.predict import Loaded, Predictions
    from millwright.prediction.predict import predict as run
    from millwright.prediction.served import ServedModels
    from millwright.prediction.session import load_session
    from millwright.serving.predictions import write_now
    from millwright.warehouse.connect import connect

    settings = Settings()
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        served, wanted = Served.from_catalog(conn), ServedModels.from_catalog(conn).model(model)
        types = {name: kind for each in wanted.wanted(served) for name, kind in each.view.join_keys.items()}
        row = entity_of(keys, types)
        loaded = Loaded(wanted, load_session(settings.feature_repo, wanted.definition))
        with redis_client(settings.require("redis_url")) as client:
            answer = run(client, served, loaded, [row], project=settings.feast_project)
        write_now(conn, answer, "command")
    found = Predictions.model_validate(answer)
    return Done(found, code=0 if found.predictions[0].status == "predicted" else 3)
