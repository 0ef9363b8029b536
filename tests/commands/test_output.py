"""Conventions of the command line: one JSON object on stdout, exit codes, errors without traceback, a quick --help."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from millwright.commands.output import Done, command
from millwright.settings import NotConfigured


class Row(BaseModel):
    line: int
    reason: str


class Report(BaseModel):
    loaded: int
    rows: list[Row] = []


@command()
@click.argument("how")
def verb(how: str) -> Report | Done:
    """A verb."""
    match how:
        case "warn":
            return Done(Report(loaded=1, rows=[Row(line=3, reason="[bold] is not a number")]), code=3)
        case "refused":
            raise NotConfigured("nothing is set")
        case "usage":
            raise click.UsageError("not like this")
        case "bug":
            raise KeyError("x")
    return Report(loaded=1234)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(verb, arguments)


@pytest.mark.parametrize(("how", "code"), [("fine", 0), ("warn", 3), ("refused", 1), ("usage", 2), ("bug", 1)])
def test_exit_codes_and_one_object_on_stdout(how: str, code: int) -> None:
    assert call(how).exit_code == code
    result = call(how, "--json")
    assert result.exit_code == code
    assert isinstance(json.loads(result.stdout), dict)


def test_an_expected_error_is_its_message_alone() -> None:
    result = call("refused")
    assert result.stderr == "Error: nothing is set\n"
    assert result.stdout == ""
    assert json.loads(call("refused", "--json").stdout) == {"error": {"type": "NotConfigured", "message": "nothing is set"}}


def test_a_bug_keeps_its_traceback() -> None:
    assert isinstance(call("bug").exception, KeyError)


def test_text_shows_fields_and_rows_as_they_are() -> None:
    assert "1,234" in call("fine").stdout
    assert "[bold] is not a number" in call("warn").stdout


def test_help_imports_no_command_and_nothing_heavy() -> None:
    program = (
        "import sys\nfrom millwright.cli import cli\ncli.main(['--help'], standalone_mode=False)\n"
        "print([name for name in ('pydantic', 'rich', 'psycopg', 'dagster', 'feast') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "quarantine" in done.stdout
    assert done.stderr.strip() == "[]"
