"""`python -m millwright.simulation`: write the simulated fleet's files, or print its messages.

Belongs here: options and what is printed. Does not: the fleet itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from millwright import simulation
from millwright.simulation import Defect, WrittenFile

_DAY = click.DateTime(["%Y-%m-%d"])
_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


def _fleet_options(command: Any) -> Any:
    command = click.option("--interval", type=click.IntRange(1), default=60, show_default=True, help="Seconds between rows.")(
        command
    )
    return _crew_options(command)


def _crew_options(command: Any) -> Any:
    command = click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same bytes.")(command)
    return click.option(
        "--machines", type=click.IntRange(1), default=30, show_default=True, help="Presses, pumps, motors in turn."
    )(command)


def _span_options(command: Any) -> Any:
    command = click.option("--to", "end", type=_MOMENT, required=True, help="End, UTC, not included.")(command)
    return click.option("--from", "start", type=_MOMENT, required=True, help="Start, UTC, included.")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Write data of a simulated fleet of presses, pumps and motors. All times are UTC."""


@main.command("csv")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--from", "first", type=_DAY, required=True, help="First day, YYYY-MM-DD.")
@click.option("--days", type=click.IntRange(1), default=1, show_default=True, help="Number of days, one file each.")
@click.option("--defects", type=click.IntRange(0), default=0, show_default=True, help="Defects of every kind put into each file.")
@_fleet_options
def _csv(folder: Path, first: datetime, days: int, defects: int, machines: int, seed: int, interval: int) -> None:
    """Write a CSV a day for the dataset `fleet` into FOLDER."""
    last = first.date() + timedelta(days=days - 1)
    wanted = dict.fromkeys(Defect, defects)
    _tell(_checked(simulation.write_csv, folder, first.date(), last, machines, seed, interval, wanted))


@main.command("foreign")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--from", "start", type=_DAY, default="2024-01-08", show_default=True, help="First day, YYYY-MM-DD.")
@click.option("--days", type=click.IntRange(2), default=21, show_default=True, help="Number of days.")
@click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same bytes.")
def _foreign(path: Path, start: datetime, days: int, seed: int) -> None:
    """Write one machine's temperature as a historian exports it: no machine id, naive times, an hour given twice."""
    _tell([_checked(simulation.foreign_csv, path, seed, start, days)])


@main.command("correction")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("machine_ids", nargs=-1, required=True, metavar="MACHINE_ID...")
@_span_options
@click.option("--offset", type=float, default=-2.5, show_default=True, help="degC added to the temperatures.")
@_fleet_options
def _correction(
    path: Path,
    machine_ids: tuple[str, ...],
    start: datetime,
    end: datetime,
    offset: float,
    machines: int,
    seed: int,
    interval: int,
) -> None:
    """Write corrected temperatures of some machines, to be uploaded with --correction."""
    span = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
    _tell([_checked(simulation.write_correction, path, *span, machine_ids, machines, seed, interval, offset)])


@main.command("events")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@_span_options
@_crew_options
def _events(path: Path, start: datetime, end: datetime, machines: int, seed: int) -> None:
    """Write the fleet's failures and maintenances as a CSV."""
    _tell([_checked(simulation.write_events, path, start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), machines, seed)])


@main.command("messages")
@_span_options
@_fleet_options
def _messages(start: datetime, end: datetime, machines: int, seed: int, interval: int) -> None:
    """Print the rows as JSON lines, such as a Kafka topic would carry."""
    for message in simulation.messages(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), machines, seed, interval):
        click.echo(json.dumps(message, separators=(",", ":")))


def _checked(write: Any, *arguments: Any) -> Any:
    try:
        return write(*arguments)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write: {error}") from error


def _tell(written: list[WrittenFile]) -> None:
    """One JSON object a file."""
    for file in written:
        click.echo(json.dumps(asdict(file), default=str))


if __name__ == "__main__":
    main(prog_name="python -m millwright.simulation")
