"""How every command prints its result and its errors. Does not: anything that knows a particular command.

A command is a function that returns one pydantic model (or `Done(model, code)`), under `@command`:

    @command(text=receipt_text)                       # text: model → str or rich renderable; a plain table without it
    @click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
    @click.option("--dry-run", is_flag=True, help="Run everything, keep nothing.")
    def upload(file: Path, dry_run: bool) -> Done:
        \"""Land a file.\"""
        from millwright.landing import receive        # heavy imports inside: `millwright --help` stays fast
        receipt = receive.upload(…)
        return Done(receipt, code=3 if receipt.quarantined else 0)

`--json` is added to each: the model as one object on stdout, nothing else there. Exit codes: 0 done, 1 failed (raise, or
`Done(model, 1)`), 2 wrong usage (raise `click.UsageError`), 3 done with rows in quarantine or a warning check.
An exception class of `millwright.*`, a refused connection or an operating system error is printed as its message without a
traceback; with --json as {"error": {"type", "message"}}. Anything else is a bug and keeps its traceback.
A command that goes on after its result (`up`) is a generator that yields it.
A group is `@click.group()` and its commands are `group.add_command(name)`. Print nothing else to stdout; progress and hints go
to `click.echo(…, err=True)`.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

if TYPE_CHECKING:
    from rich.console import RenderableType

Text = Callable[[Any], "RenderableType"]
NUMBERS_THAT_NAME = ("id", "pid", "port", "batch", "offset", "partition", "line", "version")  # no thousands separators
Decorator = Callable[[Callable[..., Any]], click.Command]


@dataclass(frozen=True)
class Done:
    """A command's result and its exit code."""

    model: BaseModel
    code: int = 0


def command(
    name: str | None = None, *, text: Text | None = None, **attributes: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """`click.command` with `--json`, printed result, printed errors and exit codes; see the module's docstring."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, as_json: bool, **options: Any) -> None:
            code = 0
            try:
                result = function(*args, **options)
                for item in result if inspect.isgenerator(result) else [result]:
                    if item is not None:
                        done = item if isinstance(item, Done) else Done(item)
                        emit(done.model, as_json=as_json, text=text)
                        code = done.code
            except click.ClickException as error:
                if as_json:
                    click.echo(_error_json(error))
                raise
            except Exception as error:
                if as_json:
                    click.echo(_error_json(error))
                if not is_expected(error):
                    raise
                click.secho(f"Error: {describe(error)}", fg="red", err=True)
                raise click.exceptions.Exit(1) from error
            raise click.exceptions.Exit(code)

        run = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(run)
        made: click.Command = click.command(name, cls=click.Command, **attributes)(run)
        return made

    return decorate


def emit(model: BaseModel, *, as_json: bool, text: Text | None = None) -> None:
    """Print a model on stdout: as one JSON object, or as text for a person (a table of its fields without `text`)."""
    if as_json:
        click.echo(model.model_dump_json(indent=2))
        return
    from rich.console import Console

    width = None if sys.stdout.isatty() else 300  # a file or a pipe is not cut off at some terminal's width
    Console(highlight=False, soft_wrap=True, width=width).print(text(model) if text else table(model))


def table(model: BaseModel) -> RenderableType:
    """A model as text: its plain fields as two columns, then each list of models as a table of its own."""
    from rich.console import Group
    from rich.table import Table

    plain = Table(box=None, show_header=False, pad_edge=False)
    parts: list[RenderableType] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Sequence) and value and isinstance(value[0], BaseModel):
            parts += [f"\n[bold]{_title(name)}[/bold]", rows(value)]
        elif isinstance(value, BaseModel):
            parts += [f"\n[bold]{_title(name)}[/bold]", table(value)]
        elif value is not None:
            plain.add_row(_title(name), _cell(value, name))
    return Group(*([plain] if plain.row_count else []), *parts)


def rows(models: Sequence[BaseModel], columns: Sequence[str] | None = None) -> RenderableType:
    """Models of one kind as a table, one line each; `columns` picks and orders the fields."""
    from rich.table import Table

    names = list(columns or type(models[0]).model_fields)
    grid = Table(box=None, pad_edge=False, header_style="bold dim")
    for name in names:
        values = [getattr(model, name) for model in models]
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        grid.add_column(_title(name), justify="right" if numeric else "left")
    for model in models:
        grid.add_row(*(_cell(getattr(model, name), name) for name in names))
    return grid


def is_expected(error: BaseException) -> bool:
    """True for errors that tell a person what to do, rather than a programmer."""
    if any(base.__module__.startswith("millwright.") for base in type(error).__mro__):
        return True
    outside = {"psycopg.OperationalError", "redis.exceptions.ConnectionError", "redis.exceptions.TimeoutError"}
    names = {f"{base.__module__}.{base.__name__}" for base in type(error).__mro__}
    return isinstance(error, OSError) or bool(names & {*outside, "psycopg.errors.OperationalError"})


def describe(error: BaseException) -> str:
    """The message of an expected error, with what to do when it is a server that does not answer."""
    message = str(error) or type(error).__name__
    if type(error).__module__.split(".")[0] in ("psycopg", "redis"):
        return f"{message.strip()}\nIs the platform up? `millwright status` tells, `millwright up` starts it."
    return message


def size(count: float) -> str:
    """Bytes for a person: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _error_json(error: BaseException) -> str:
    message = error.format_message() if isinstance(error, click.ClickException) else describe(error)
    return json.dumps({"error": {"type": type(error).__name__, "message": message}}, indent=2)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Any, name: str = "") -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if name.rsplit("_", maxsplit=1)[-1] in NUMBERS_THAT_NAME else f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, Mapping):
        return escape(", ".join(f"{key}={item}" for key, item in value.items()))
    if isinstance(value, list | tuple | set | frozenset):
        return escape(", ".join(str(item) for item in value))
    return escape(str(value))
