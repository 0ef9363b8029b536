"""Reads any folder of CSV files as a landing would, and reports per file: landed with counts, refused with reason, or crashed.

    python -m tests.landing.corpus FOLDER [--json] [--all] [--seconds 60] [--megabytes 4096]

Belongs here: files that nobody declared anything about. Does not: files with expected receipts (files/).

What is checked of each file: it is opened, unpacked, decoded, its dialect and header found, every line read, every cell typed by
the rules of a dataset made for it (any header, every column a new reading; the event timestamp is the first column of ISO times,
else set; machine and sensor type are set unless the file has them). Every line is accounted for (I1): of plain UTF-8 files the
lines handed out are compared with the file's. What is not checked: Postgres, for such rows have no keys.
A file that takes longer, or more memory, than it may, is a crash. Exit code 1 when one crashed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from millwright.definitions import Dataset, Definitions, Entity
from millwright.landing.csv import CsvFile
from millwright.landing.limits import Limits
from millwright.landing.mapping import EVENT, Delivery
from millwright.landing.rows import Block, Refused
from millwright.landing.rules import Rules
from millwright.settings import Settings

ENDINGS = (".csv", ".tsv", ".tab", ".psv", ".gz", ".zst")
_ENTITY = Entity(entity="machine", join_keys={"machine_id": "string"})
_COMPARED = 64 * 1024 * 1024


def check(path: Path) -> dict[str, Any]:
    """Read and type one file; what became of it. An error that is no refusal is raised: a crash."""
    start = time.perf_counter()
    told: dict[str, Any] = {"bytes": path.stat().st_size}
    try:
        told |= {"outcome": "landed", **_read(path)}
    except Refused as refused:
        told |= {"outcome": "refused", "reason": str(refused)}
    return told | {"seconds": round(time.perf_counter() - start, 3)}


def _read(path: Path) -> dict[str, Any]:
    settings = Settings(project=Path(tempfile.gettempdir()))
    source = CsvFile(path, limits=Limits.of(settings))
    rules: Rules | None = None
    codes: Counter[str] = Counter()
    rows = bad = 0
    last, seen, moment = 0, 0, "set"
    for block in source.blocks():
        if rules is None:
            rules, moment = _rules(settings, source, block)
        typed = rules.apply(block)
        positions = np.sort(np.append(block.positions, [line.position for line in block.rejected]).astype(np.int64))
        assert (np.diff(positions, prepend=last) > 0).all(), "a line was handed out twice, or out of order"
        last = int(positions[-1])
        rows += len(positions)
        bad += len(block.rejected) + len(typed.errors)
        codes.update(line.errors[0]["code"] for line in block.rejected)
        codes.update(error["code"] for errors in typed.errors.values() for error in errors)
        seen += sum(_full_lines(line) for line in source.originals(positions))
    facts = source.facts()
    _compare(path, source, facts, seen)
    if rules is not None:
        rules.close()
    del facts["columns"]
    return {
        "rows": rows,
        "good": rows - bad,
        "columns": len(source.header),
        "codes": dict(codes),
        "time": moment,
        "dialect": facts,
    }


def _rules(settings: Settings, source: CsvFile, block: Block) -> tuple[Rules, str]:
    header = list(source.header)
    given = {"machine_id": "m", "sensor_type": "s", EVENT: "2026-01-01T00:00:00Z"}
    columns = {}
    for name in header:
        cells = [cell for cell in block.columns[name].text[:50].to_pylist() if cell.strip()]
        if EVENT not in header and not columns and cells and all(_is_time(cell) for cell in cells):
            columns = {name: EVENT}
    constants = {name: value for name, value in given.items() if name not in header and name not in columns.values()}
    dataset = Dataset(dataset="corpus", entity="machine", columns=columns, constants=constants, timezone="UTC")
    definitions = Definitions(entities={"machine": _ENTITY}, datasets={"corpus": dataset})
    rules = Rules(settings, definitions, dataset, Delivery(), now=datetime.now(UTC), fixed=True, units=source.units)
    return rules, next(iter(columns), EVENT if EVENT in header else "set")


def _is_time(cell: str) -> bool:
    try:
        return len(cell) > 10 and datetime.fromisoformat(cell.strip()) is not None
    except ValueError:
        return False


def _compare(path: Path, source: CsvFile, facts: dict[str, Any], seen: int) -> None:
    """Assert that the lines handed out and the header are all lines that have something in them."""
    if facts.get("compression") or facts.get("line_end") or not facts["encoding"].startswith("utf-8"):
        return
    if path.stat().st_size <= _COMPARED:
        above = max(source.header_lines, 1)  # a header may lack its line end
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
        full = sum(bool(line.rstrip(b"\r")) for line in lines[above:])
        assert full == seen, f"{full} lines have something in them, {seen} were handed out"


def _full_lines(record: bytes) -> int:
    return sum(bool(line.rstrip(b"\r")) for line in record.split(b"\n"))


def _work(pipe: Connection, megabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 1024**2, megabytes * 1024**2))
    while (path := pipe.recv()) is not None:
        try:
            pipe.send(check(path))
        except BaseException:
            pipe.send({"outcome": "crashed", "reason": traceback.format_exc()[-2000:]})


class Worker:
    """A process that reads one file after the other, and is replaced when it takes too long or dies."""

    def __init__(self, seconds: float, megabytes: int) -> None:
        self._seconds, self._megabytes = seconds, megabytes
        self._process: Any = None

    def check(self, path: Path) -> dict[str, Any]:
        """What became of a file."""
        if self._process is None:
            self._pipe, other = mp.Pipe()
            self._process = mp.get_context("spawn").Process(target=_work, args=(other, self._megabytes), daemon=True)
            self._process.start()
            other.close()
        try:
            self._pipe.send(path)
            if self._pipe.poll(self._seconds):
                told: dict[str, Any] = self._pipe.recv()
                return told
            reason = f"it took longer than {self._seconds:g} s"
        except (EOFError, OSError) as error:
            reason = f"the process died ({type(error).__name__}, exit code {self._process.exitcode})"
        self.close()
        return {"outcome": "crashed", "reason": reason}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def main(arguments: list[str]) -> int:
    """Check a folder; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.landing.corpus", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object a file, then one with the totals")
    parser.add_argument("--all", action="store_true", help=f"every file, not only {', '.join(ENDINGS)}")
    parser.add_argument("--seconds", type=float, default=60, help="time limit of one file")
    parser.add_argument("--megabytes", type=int, default=4096, help="memory bound of the reading process")
    options = parser.parse_args(arguments)
    totals: Counter[str] = Counter()
    worker = Worker(options.seconds, options.megabytes)
    try:
        for path in sorted(path for path in options.folder.rglob("*") if path.is_file()):
            if not options.all and not path.name.lower().endswith(ENDINGS):
                continue
            told = {"file": str(path.relative_to(options.folder))} | worker.check(path)
            totals[told["outcome"]] += 1
            print(json.dumps(told, ensure_ascii=False) if options.json else _line(told), flush=True)
    finally:
        worker.close()
    checked = "read, split and typed (no database): header, every line, every cell"
    summary = {"files": totals.total(), **{name: totals[name] for name in ("landed", "refused", "crashed")}, "checked": checked}
    print(json.dumps(summary) if options.json else "\n" + "  ".join(f"{name}: {value}" for name, value in summary.items()))
    return 1 if totals["crashed"] else 0


def _line(told: dict[str, Any]) -> str:
    name = told["file"].encode("unicode_escape").decode()
    if told["outcome"] != "landed":
        return f"{told['outcome']:8} {name}: {told['reason']}"
    codes = ", ".join(f"{count} {code}" for code, count in told["codes"].items())
    dialect = f"{told['dialect']['encoding']} {told['dialect']['delimiter']!r}"
    return f"landed   {name}: {told['good']} of {told['rows']} rows, {told['columns']} columns, {dialect}{f' ({codes})' if codes else ''}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
