"""The one form of a benchmark's result: DESIGN §14. Does not: anything measured."""

from __future__ import annotations

import json
from typing import Literal


def figure(
    bench: str,
    measure: str,
    ours: float,
    unit: str,
    better: Literal["lower", "higher"],
    *,
    goal: float | None = None,
    peer: str | None = None,
    theirs: float | None = None,
) -> dict[str, object]:
    """One measure. With a peer, `goal` is a floor on `ratio` (above 1: ours is better); without, a bound on ours."""
    ratio = None if not theirs or not ours else (theirs / ours if better == "lower" else ours / theirs)
    holds = True
    if goal is not None:
        holds = ratio >= goal if ratio is not None else ours <= goal if better == "lower" else ours >= goal
    return {
        "bench": bench,
        "measure": measure,
        "ours": round(ours, 4),
        "peer": peer,
        "theirs": None if theirs is None else round(theirs, 4),
        "unit": unit,
        "better": better,
        "ratio": None if ratio is None else round(ratio, 4),
        "goal": goal,
        "holds": holds,
    }


def show(result: dict[str, object], as_json: bool) -> None:
    """Print a measure: one object a line, or a line for a person."""
    if as_json:
        print(json.dumps(result), flush=True)
        return
    against = f", {result['peer']} {result['theirs']} (ratio {result['ratio']})" if result["peer"] else ""
    goal = "" if result["goal"] is None else f", goal {result['goal']}: {'holds' if result['holds'] else 'MISSED'}"
    print(f"{result['bench']}: {result['measure']} {result['ours']} {result['unit']}{against}{goal}", flush=True)
