"""The command `millwright`: names and one line of help for each command, loaded only when it is called.

Belongs here: the list of commands. Does not: what they do (millwright/commands/, one module per room of the domain),
how results and errors are printed (commands/output). Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import click

# Command → (module:attribute in millwright.commands, help). The order is the one of `millwright --help`.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "The platform on this machine": {
        "up": ("stack:up", "Start the servers, Dagster and the API."),
        "down": ("stack:down", "Stop all of it, in order."),
        "status": ("stack:status", "Health, versions, addresses, memory and disk."),
        "doctor": ("stack:doctor", "Check what could keep it from starting."),
        "psql": ("stack:psql", "Open psql with the reader's connection."),
        "env": ("stack:env", "Print the reader's connections as export lines."),
        "demo": ("demo:demo", "The whole way on a simulated fleet."),
    },
    "Definitions and features": {
        "apply": ("definitions:apply", "Migrate, validate definitions, register them, reload Dagster."),
        "preview": ("preview:preview", "Compute a definition, applied or not, and show what it gives."),
        "schemas": ("definitions:schemas", "Write JSON Schemas of the definition files, for editors."),
        "features": ("definitions:features", "The catalog of features."),
        "activate": ("definitions:activate", "Make a version of a feature view or a model the active one."),
        "deprecate": ("definitions:deprecate", "Mark a version as deprecated; it is still served."),
        "retire": ("definitions:retire", "Stop computing and serving a version."),
        "online": ("definitions:online", "Read an entity's features from the online store."),
        "compare": ("compare:compare", "Compare the online store with Postgres, and repair it."),
        "why": ("why:why", "Where a value comes from, down to the lines of a delivery."),
        "backfill": ("features:backfill", "Recompute a feature view over a range of days."),
    },
    "Models": {
        "deploy": ("models:deploy", "Make an ONNX file a version of a model that reads features."),
        "models": ("models:models", "The deployed models, with their versions."),
        "predict": ("models:predict", "Predict for an entity from its features as they are online."),
    },
    "Data": {
        "upload": ("upload:upload", "Land files, or look what they would do."),
        "batches": ("landing:batches", "The ledger of deliveries; with a number, its receipt."),
        "quarantine": ("landing:quarantine", "Rows of a batch that were set aside, with the reasons."),
        "undo": ("undo:undo", "Take a landed batch's rows out again."),
        "replay": ("landing:replay", "Plan a failed, refused or undone batch again."),
        "prune": ("landing:prune", "Remove received files that are older than they are kept."),
    },
    "Access": {
        "keys": ("serving:keys", "Create, list and revoke API keys."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of SECTIONS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(f"millwright.commands.{module}"), attribute)
        assert isinstance(command, click.Command), f"{COMMANDS[cmd_name][0]} is not a click command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections without importing any command."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="millwright")
def cli() -> None:
    """The feature platform for machine data.

    Every command has --json (one object on stdout, logs on stderr) and these exit codes: 0 done, 1 failed, 2 wrong usage,
    3 done, but rows are in quarantine or a check warns.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        result: Any = cli.main(arguments, prog_name="millwright", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
