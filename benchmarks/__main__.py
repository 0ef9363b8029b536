"""Runs the benchmarks one after another and writes their figures into docs/performance.md.

Belongs here: the order and the page's tables. Does not: anything measured (each benchmark's own module).
Usage: python -m benchmarks [NAME …] [-- OPTION …]   names: the modules of this folder, all without; options go to each of them
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
COLUMNS = "| measure | ours | peer | ratio | goal | |\n| --- | ---: | ---: | ---: | ---: | --- |"


def main() -> None:
    """Run what is named; a table is replaced when all of its benchmark has ended, so that a failure leaves the old one."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    names, options = arguments[:cut], arguments[cut + 1 :]
    there = sorted(file.stem for file in HERE.glob("[a-z]*.py"))
    if unknown := sorted(set(names) - set(there)):
        raise SystemExit(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(there)}.")
    for name in names or there:
        load = os.getloadavg()[0]
        table = written(name, run(name, options), options, load)
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), name, table), encoding="utf-8")


def run(name: str, options: Sequence[str]) -> list[dict[str, Any]]:
    """The figures of a benchmark, printed as they come. Raises SystemExit when it fails."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *options]
    figures = []
    with subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("{"):
                figures.append(json.loads(line))
    if process.returncode:
        raise SystemExit(f"benchmarks.{name} failed (exit {process.returncode}); its table stays as it was.")
    return figures


def written(name: str, figures: Sequence[Mapping[str, Any]], options: Sequence[str], load: float) -> str:
    """The table of a benchmark, under what it was run on; `load`: of the minute before it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GB, load before {load:.1f}"
    head = f"`{' '.join(['python -m benchmarks.' + name, *options])}` on {datetime.now(UTC):%Y-%m-%d}: {machine}."
    return "\n".join([head, "", COLUMNS, *map(row, figures)])


def row(figure: Mapping[str, Any]) -> str:
    """One measure as a line of the table."""
    peer = f"{figure['peer']}: {number(figure['theirs'])}" if figure["peer"] else ""
    goal = "" if figure["goal"] is None else number(figure["goal"])
    verdict = "" if figure["goal"] is None else "held" if figure["holds"] else "**missed**"
    ratio = "" if figure["ratio"] is None else number(figure["ratio"])
    return f"| {figure['measure']} | {number(figure['ours'])} {figure['unit']} | {peer} | {ratio} | {goal} | {verdict} |"


def number(value: float) -> str:
    """Three significant digits, or all of a large number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def replaced(page: str, name: str, table: str) -> str:
    """The page with the table of a benchmark in its place. Raises SystemExit when the page has none."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
    found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not found.search(page):
        raise SystemExit(f"{PAGE.name} has no place for {name}: write {begin.strip()} and {end.strip()} on lines of their own.")
    return found.sub(lambda _: f"{begin}{table}{end}", page)


if __name__ == "__main__":
    main()
