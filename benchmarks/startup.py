"""How long a start takes: `up` until everything answers, the code location, a run's first step.

Belongs here: measuring the shipped project in a state folder of its own. Does not: the way of the data (path).
Usage: python -m benchmarks.startup [--repeat 3] [--json]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measure import figure, show
from millwright.settings import Settings
from millwright.stack.dagster import LOCATION, MODULE, graphql
from millwright.stack.server import free_port
from millwright.stack.up import Stack

LAUNCH = """mutation Launch($location: String!) { launchRun(executionParams: {selector: {
  repositoryLocationName: $location, repositoryName: "__repository__", jobName: "refresh"}}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
EVENTS = """query Events($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  __typename ... on MessageEvent { timestamp } } } } }"""


def main() -> None:
    """Start and stop the shipped project some times and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    project = Path(__file__).parents[1]
    home = Path(tempfile.mkdtemp(prefix="millwright-bench-"))
    os.environ |= {"MILLWRIGHT_WEBSERVER_PORT": str(free_port()), "MILLWRIGHT_API_PORT": str(free_port())}
    stack = Stack(Settings(project=project, home=home, inbox=home / "inbox"))
    try:
        ups, locations, steps = [], [], []
        for _ in range(arguments.repeat):
            ups.append(_seconds_up(stack))
            locations.append(_seconds_to_load(project))
            steps.append(_seconds_to_first_step(f"http://127.0.0.1:{stack.state.ports['webserver']}"))
            stack.down()
        show(figure("startup", "first up, new state folder, until all healthy", ups[0], "s", "lower", goal=25), arguments.json)
        show(figure("startup", "up until all healthy, median", statistics.median(ups), "s", "lower", goal=25), arguments.json)
        show(
            figure("startup", "definitions, fresh interpreter", statistics.median(locations), "s", "lower"),
            arguments.json,
        )
        show(figure("startup", "launch of a run to its first step", statistics.median(steps), "s", "lower"), arguments.json)
    finally:
        stack.down()
        shutil.rmtree(home)


def _seconds_up(stack: Stack) -> float:
    began = time.monotonic()
    stack.up()
    return time.monotonic() - began


def _seconds_to_load(project: Path) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {MODULE}"], cwd=project, check=True)
    return time.monotonic() - began


def _seconds_to_first_step(url: str) -> float:
    began = time.time()
    answer = graphql(url, LAUNCH, location=LOCATION)["launchRun"]
    if "run" not in answer:
        sys.exit(f"The run was not launched: {answer}")
    deadline = began + 120
    while time.time() < deadline:
        events = graphql(url, EVENTS, run=answer["run"]["runId"])["logsForRun"].get("events", [])
        for event in events:
            if event["__typename"] == "ExecutionStepStartEvent":
                return float(event["timestamp"]) / 1000 - began
        time.sleep(0.1)
    sys.exit("The run's first step was not reported within 120 s.")


if __name__ == "__main__":
    main()
