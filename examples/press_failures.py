"""Trains a small model that tells whether a press fails within 24 hours, from the features and labels in the warehouse.

`python examples/press_failures.py -o press_failures.onnx`; then `millwright deploy`, as docs/predictions.md shows.
Belongs here: rows, labels, a split by time, a logistic regression, what it reaches. Does not: deploying it.

How it is judged: it learns from the first 70 % of the time and is judged on the last 30 %, with a gap of 24 hours between: no
label of the one lies in the other. A row is left out while its 24 hours are not over, and while its machine stands broken.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from millwright.settings import Settings
from millwright.simulation.trained import FEATURES, VIEW
from millwright.warehouse.connect import connect

HORIZON = timedelta(hours=24)
LEARNED = 0.7

# A row an hour and press: the last of the hour, complete, and not of a press that stands broken.
ROWS = """
with hourly as (
  select distinct on (machine_id, date_trunc('hour', event_timestamp)) *
  from features.machine_vitals_v1 where event_timestamp >= %(first)s and event_timestamp < %(end)s
  order by machine_id, date_trunc('hour', event_timestamp), event_timestamp desc
), told as (
  select keys[1] as machine_id, event_timestamp, kind from warehouse.events where entity = 'machine'
)
select h.event_timestamp, to_jsonb(h),
  exists (select from told where told.machine_id = h.machine_id and kind = 'failure'
    and told.event_timestamp > h.event_timestamp and told.event_timestamp <= h.event_timestamp + %(horizon)s)
from hourly h
where (
  select kind from told where told.machine_id = h.machine_id and told.event_timestamp <= h.event_timestamp
  order by told.event_timestamp desc limit 1
) is distinct from 'failure'
order by h.event_timestamp, h.machine_id
"""


def rows(first: datetime, end: datetime) -> tuple[list[datetime], np.ndarray, np.ndarray]:
    """Times, features and labels of every row whose 24 hours are over, in the order of time."""
    with connect(Settings().require("postgres_reader_url"), autocommit=True) as conn:
        found = conn.execute(ROWS, {"horizon": HORIZON, "first": first, "end": end}).fetchall()
    if not found:
        raise click.ClickException(f"features.{VIEW} has no row in this span: land the fleet's files first")
    complete_to = found[-1][0] - HORIZON
    kept = [
        (time, [row[name] for name in FEATURES], label)
        for time, row, label in found
        if time <= complete_to and all(row[name] is not None for name in FEATURES)
    ]
    told = f"{len(kept)} rows; left out: {len(found) - len(kept)} that are not complete, or whose 24 hours are not over"
    click.echo(told, err=True)
    times, values, labels = zip(*kept, strict=True)
    return list(times), np.array(values, np.float32), np.array(labels, np.int64)


@click.command()
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), default="1970-01-01", help="First day, UTC.")
@click.option("--to", "end", type=click.DateTime(["%Y-%m-%d"]), default="2100-01-01", help="The day after the last, UTC.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The ONNX file to write.")
def main(first: datetime, end: datetime, output: Path) -> None:
    """Train, judge, write."""
    times, values, labels = rows(first, end)
    cut = times[0] + (times[-1] - times[0]) * LEARNED
    learned = np.array([time < cut - HORIZON for time in times])
    judged = np.array([time >= cut for time in times])
    if len(set(labels[learned])) < 2 or len(set(labels[judged])) < 2:
        raise click.ClickException("one of the two spans of time has no failure: land more days")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(values[learned], labels[learned])
    onnx = to_onnx(model, values[:1], options={"zipmap": False}).SerializeToString()
    output.write_bytes(onnx)
    found = onnxruntime.InferenceSession(onnx).run(["probabilities"], {"X": values[judged]})[0][:, 1]
    click.echo(json.dumps(judgement(labels[learned], labels[judged], found), indent=1))


def judgement(learned: np.ndarray, truth: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """What the written file reaches on the later rows, beside always answering the rate of failures in the earlier ones."""
    rate = learned.mean()
    naive = np.full(len(truth), rate)
    return {
        "rows learned": len(learned),
        "rows judged": len(truth),
        "rate of failures within 24 h": round(float(truth.mean()), 4),
        "average precision": round(float(average_precision_score(truth, found)), 3),
        "average precision, naive": round(float(truth.mean()), 3),
        "area under the ROC curve": round(float(roc_auc_score(truth, found)), 3),
        "Brier score (lower is better)": round(float(brier_score_loss(truth, found)), 4),
        "Brier score, naive": round(float(brier_score_loss(truth, naive)), 4),
    }


if __name__ == "__main__":
    main()
