"""The end of the way: a model answers from the features, Redis is emptied, found out and filled again, a value is explained.

Belongs here: these steps and what must hold after each. Does not: the steps before them (demo.py), any of what they use.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

from millwright.checks import CheckResult, check_published
from millwright.compare import repair_online
from millwright.definitions import FeatureView
from millwright.demo import PRESS, Demo, Figures, expect, until
from millwright.platform import Platform
from millwright.registry import applied, deploy
from millwright.serving.keys import create_key, revoke_key
from millwright.simulation import trained
from millwright.why import why

PRESSES = 10


def run(platform: Platform, demo: Demo, *, may_flush: bool) -> None:
    """Deploy, predict, empty Redis and repair it, explain a value. Raises what a step raised.

    `may_flush`: the Redis is the platform's own; one of the user's may hold what is not ours, and is left alone.
    """
    with demo.step("deploy a model") as figures:
        features = [f"{trained.VIEW}:{name}" for name in trained.FEATURES]
        made = deploy(
            platform.settings, trained.FILE, name=trained.NAME, features=features, owner="reliability@example.com", by="demo"
        )
        figures |= {"model": made.model_id, "inputs": len(made.inputs), "already": int(made.already)}
    with demo.step("predict over HTTP") as figures:
        figures |= _predict(platform, made.model_id)
    if may_flush:
        with demo.step("FLUSHALL, the check that fails, the repair") as figures:
            figures |= _flushed(platform)
    with demo.step("why a value is what it is, down to the line") as figures:
        figures |= _explained(platform)


def _predict(platform: Platform, model_id: str) -> Figures:
    """Ten presses by one request; each was predicted, and logged with what the model was given."""
    secret = create_key(platform.conn, name="demo", scopes=["predict"], expires_in=timedelta(hours=1))
    answers: list[dict[str, Any]] = []
    try:
        until(lambda: _asked(platform, model_id, secret.key, answers), f"the API does not know {model_id}: see its log")
    finally:
        revoke_key(platform.conn, secret.key_id)
    (answer,) = answers
    refused = [one["reason"] for one in answer["predictions"] if one["status"] != "predicted"]
    expect(not refused, f"presses were refused: {refused}")
    query = "select count(*) from serving.predictions where request_id = %s"
    until(
        lambda: platform.conn.execute(query, [answer["request_id"]]).fetchall() == [(PRESSES,)],
        "the predictions were not logged: see the API's log",
    )
    risks = {one["entity"]["machine_id"]: one["outputs"]["probabilities"][1] for one in answer["predictions"]}
    worst = max(risks, key=lambda name: risks[name])
    return {"predicted and logged": len(risks), "most likely to fail": worst, "within 24 h, probability": round(risks[worst], 3)}


def _asked(platform: Platform, model_id: str, key: str, answers: list[dict[str, Any]]) -> bool:
    """Ask once; False while the API has not noticed the model."""
    machines = [f"press-{number:02}" for number in range(1, PRESSES + 1)]
    request = urllib.request.Request(
        f"http://{platform.settings.api_host}:{platform.settings.api_port}/v1/models/{model_id}/predict",
        data=json.dumps({"entities": {"machine_id": machines}}).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answers.append(json.load(response))
    except urllib.error.HTTPError as error:
        expect(error.code == 404, f"the API answered {error.code}: {error.read().decode(errors='replace')[:300]}")
        return False
    return True


def _flushed(platform: Platform) -> Figures:
    """Redis loses everything: the check says so, a repair restores every row."""
    views = [
        platform.definitions.feature_views[view_id]
        for view_id, state in applied(platform.conn).items()
        if state.published and view_id in platform.definitions.feature_views
    ]
    platform.redis.flushall()
    # At once: the platform notices an emptied store by itself, and fills it within seconds.
    found = [_checked(platform, view) for view in views]
    expect(not any(result.passed for result in found), "the check did not notice that Redis is empty")
    missing = sum(int(result.numbers["missing"]) for result in found)
    project = platform.settings.feast_project
    repairs = [repair_online(platform.conn, platform.redis, platform.definitions, view, project=project) for view in views]
    expect(all(repair.after.same for repair in repairs), "the repair left differences")
    expect(all(_checked(platform, view).passed for view in views), "the check still fails after the repair")
    return {"missing": missing, "equal after the repair": sum(repair.after.equal for repair in repairs)}


def _checked(platform: Platform, view: FeatureView) -> CheckResult:
    project = platform.settings.feast_project
    (result,) = check_published(platform.conn, platform.redis, platform.definitions, view, project=project, whole=True)
    return result


def _explained(platform: Platform) -> Figures:
    """Yesterday's last mean of a press, computed again from the rows of its window, the newest of them as its file has it."""
    view = platform.definitions.feature_views[trained.VIEW]
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    entity, feature = {"machine_id": PRESS}, "temperature_mean_1h"
    found = why(
        platform.conn, platform.redis, platform.settings, platform.definitions, view, feature, entity,
        at=today - timedelta(microseconds=1), shown=1,
    )  # fmt: skip
    expect(found.agrees, f"{found.value} is not what its rows give, {found.recomputed}")
    (newest,) = found.origins
    expect(newest.line is not None and PRESS in newest.line, f"the line is not shown: {newest.lost}")
    name = next(one.name for one in found.deliveries if one.batch_id == newest.batch_id)
    expect(name.endswith(".csv"), f"{name} is not a file")
    return {
        "value": round(float(found.value), 3),
        "rows": found.rows,
        "line": f"{name}:{newest.position}",
        "as it came": newest.line or "",
    }
