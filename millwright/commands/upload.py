"""The command `upload`: one file or many, into the landing zone or only looked at.

Belongs here: which files, which dataset, what is printed. Does not: receiving and landing (landing/), waiting (follow.py).
"""

from __future__ import annotations

import difflib
import getpass
import glob
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from pydantic import BaseModel, ConfigDict

from millwright.commands.follow import follow
from millwright.commands.landing import receipt_text
from millwright.commands.output import Done, command, describe, is_expected, rows, size
from millwright.commands.proposals import proposed_text
from millwright.landing.batches import Receipt
from millwright.landing.names import label
from millwright.landing.options import OPTIONS, delivery
from millwright.landing.receive import Delivery, Received, receive, too_large
from millwright.registry.proposals import Proposed
from millwright.settings import Settings

if TYPE_CHECKING:
    import psycopg

    from millwright.definitions import Definitions

_STDIN = "-"


class Uploaded(BaseModel):
    """One of several files: its batch or what kept it from becoming one. `receipt`: with --wait and --dry-run."""

    model_config = ConfigDict(frozen=True)
    file: str
    state: str
    batch_id: int | None = None
    already: bool = False
    error: str | None = None
    receipt: Receipt | None = None


class Uploads(BaseModel):
    """Several files, in the order in which they were given."""

    model_config = ConfigDict(frozen=True)
    files: list[Uploaded]


class _Line(BaseModel):
    file: str
    batch: int | None
    state: str
    received: int
    loaded: int
    corrected: int
    duplicate: int
    quarantined: int
    error: str


@dataclass(frozen=True)
class _File:
    """A file of the command line; `path` is None for the standard input."""

    path: Path | None
    name: str

    def source(self) -> Path | BinaryIO:
        return sys.stdin.buffer if self.path is None else self.path


def _text(model: Any) -> Any:
    if isinstance(model, Receipt):
        return receipt_text(model)
    if isinstance(model, Uploads):
        return _table(model)
    if isinstance(model, Proposed):
        return proposed_text(model)
    if model.already:
        return (
            f"This file was delivered before with the same options: batch {model.batch_id}, {model.state}. "
            f"Nothing changed. `millwright batches {model.batch_id}` shows its receipt."
        )
    return (
        f"Received as batch {model.batch_id} ({size(model.file_bytes)}). It lands with the next run; "
        f"`millwright batches {model.batch_id}` tells."
    )


def _table(uploads: Uploads) -> Any:
    lines = []
    for each in uploads.files:
        receipt = each.receipt
        counts = {
            name: getattr(receipt, name) if receipt else 0
            for name in ("received", "loaded", "corrected", "duplicate", "quarantined")
        }
        error = each.error or ("delivered before" if each.already else "")
        lines.append(_Line(file=each.file, batch=each.batch_id, state=each.state, **counts, error=error))
    if any(each.receipt for each in uploads.files):
        return rows(lines)
    return rows(lines, ["file", "batch", "state", "error"])


def _delivery_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Every option of a delivery, by the table of landing/options.py."""
    for option in reversed(OPTIONS):
        if option.kind == "flag":
            function = click.option(f"--{option.name}", is_flag=True, help=option.help)(function)
        else:
            function = click.option(f"--{option.name}", multiple=option.repeatable, metavar=option.metavar, help=option.help)(
                function
            )
    return function


@command(text=_text)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--dataset", "-d", help="Dataset that the files are deliveries of; needed if there is more than one.")
@click.option("--filename", metavar="NAME", help="What to call the standard input (FILE is -).")
@click.option("--dry-run", is_flag=True, help="Do everything, tell what would happen, change nothing.")
@click.option(
    "--accept", is_flag=True, help="Save what the columns mean with the dataset, or put a proposed dataset in place; apply it."
)
@click.option("--new", is_flag=True, help="The dataset is a new one, though its name is near to another's.")
@click.option("--wait", is_flag=True, help="Wait until it is served and print the receipt.")
@_delivery_options
def upload(
    files: tuple[str, ...],
    dataset: str | None,
    filename: str | None,
    dry_run: bool,
    accept: bool,
    new: bool,
    wait: bool,
    **given: Any,
) -> Done:
    """Land CSV files. FILE is a path, a pattern such as 'day-*.csv', or - for the standard input.

    For a dataset that does not exist one is proposed, written for review, and put in place by --accept.
    """
    from millwright.definitions import load
    from millwright.warehouse.connect import connect

    found, options = _found(files, filename), _options(given)
    settings = Settings()
    definitions = load(settings.feature_repo)
    if dataset is None and options.repairs is not None:
        dataset = _repaired(settings, options.repairs)
    if dataset is None:
        if len(definitions.datasets) != 1:
            names = ", ".join(sorted(definitions.datasets)) or "none is defined"
            raise click.UsageError(f"Which dataset is it? Add --dataset with one of: {names}.")
        dataset = next(iter(definitions.datasets))
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        if accept or dataset not in definitions.datasets:
            if dataset not in definitions.datasets and not (accept or new):
                _refuse_misspelt(definitions, dataset)
            if len(found) != 1 or found[0].path is None or (accept and dry_run):
                raise click.UsageError(_ONE_FILE if accept else f"There is no dataset {dataset!r}. {_ONE_FILE}")
            agreed = _agreed(conn, settings, definitions, dataset, found[0].path, options, accept)
            if isinstance(agreed, Done):
                return agreed
            definitions, options = agreed
        work = _Work(conn, settings, definitions, dataset, options)
        return work.one(found[0], dry_run, wait) if len(found) == 1 else work.many(found, dry_run, wait)


def _repaired(settings: Settings, batch: int) -> str:
    """The dataset of the batch that is repaired. Raises UnknownBatch."""
    from millwright.landing import batches
    from millwright.warehouse.connect import connect

    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        return batches.found(conn, batch).dataset


_ONE_FILE = "Proposing and accepting take one file that is on disk, and --accept no --dry-run. Then upload the others."


def _refuse_misspelt(definitions: Definitions, dataset: str) -> None:
    """Raise UnknownDataset for a name that is another's but for a slip."""
    from millwright.landing.mapping import UnknownDataset, dataset_of

    if difflib.get_close_matches(dataset, list(definitions.datasets), n=1, cutoff=0.75):
        try:
            dataset_of(definitions, dataset)
        except UnknownDataset as error:
            raise UnknownDataset(f"{error} If it is a new one, add --new to have it proposed.") from None


def _agreed(
    conn: psycopg.Connection[Any],
    settings: Settings,
    definitions: Definitions,
    dataset: str,
    path: Path,
    options: Delivery,
    accept: bool,
) -> Done | tuple[Definitions, Delivery]:
    """What to deliver with once a proposal is accepted, or the proposal that is there to be looked at."""
    from millwright.definitions import load
    from millwright.landing.sample import sample
    from millwright.registry import proposals

    known = definitions.datasets.get(dataset)
    seen = sample(path, options.format.over(known.format) if known else options.format, options.missing)
    name = label(path.name)
    if known is not None:
        accepted = proposals.accept_mapping(conn, settings, definitions, known, seen, options)
    elif accept:
        accepted = proposals.accept_dataset(settings, definitions, dataset, seen, options, file_name=name)
    else:
        proposed = proposals.propose_dataset(settings, definitions, dataset, seen, options, file_name=str(path))
        return Done(proposed, 1)
    for file in accepted.files:
        click.echo(f"{settings.feature_repo / file} is in place and applied.", err=True)
    for view in accepted.drafts:
        click.echo(f"{view} is a draft: computed, not served. `millwright activate {view}` serves it.", err=True)
    return load(settings.feature_repo), accepted.delivery


@dataclass(frozen=True)
class _Work:
    conn: psycopg.Connection[Any]
    settings: Settings
    definitions: Definitions
    dataset: str
    options: Delivery

    def one(self, file: _File, dry_run: bool, wait: bool) -> Done:
        """The receipt, or what was received."""
        if dry_run:
            return _done(self.looked_at(file))
        received = self.received(file)
        if not wait:
            return Done(received)
        if received.already:
            click.echo(f"This file was delivered before with the same options, as batch {received.batch_id}.", err=True)
        return self.followed([received.batch_id])[received.batch_id]

    def many(self, files: Sequence[_File], dry_run: bool, wait: bool) -> Done:
        """One line a file; a file that cannot be received does not keep the others back."""
        found: list[Uploaded] = []
        codes: list[int] = []
        for file in files:
            try:
                if dry_run:
                    done = _done(self.looked_at(file))
                    assert isinstance(done.model, Receipt)
                    found.append(_uploaded(file, done.model))
                    codes.append(done.code)
                else:
                    received = self.received(file)
                    found.append(
                        Uploaded(file=file.name, state=received.state, batch_id=received.batch_id, already=received.already)
                    )
            except Exception as error:
                if not is_expected(error):
                    raise
                found.append(Uploaded(file=file.name, state="not received", error=describe(error)))
                codes.append(1)
        if wait and not dry_run:
            done_by = self.followed([each.batch_id for each in found if each.batch_id is not None])
            codes += [done.code for done in done_by.values()]
            found = [each.model_copy(update=_ended(done_by[each.batch_id])) if each.batch_id else each for each in found]
        return Done(Uploads(files=found), next((code for code in (1, 3) if code in codes), 0))

    def received(self, file: _File) -> Received:
        """Keep its bytes and plan a batch."""
        return receive(
            self.conn,
            self.settings,
            self.definitions,
            file.source(),
            dataset=self.dataset,
            file_name=file.name,
            delivery=self.options,
            channel="upload",
            by=getpass.getuser(),
        )

    def looked_at(self, file: _File) -> Receipt:
        """What landing it would do."""
        from millwright.landing.load import dry_run

        with _on_disk(file, self.settings) as path:
            return dry_run(
                self.conn, self.settings, self.definitions, path, dataset=self.dataset, delivery=self.options
            ).model_copy(update={"file_name": file.name})

    def followed(self, batch_ids: Sequence[int]) -> dict[int, Done]:
        """Receipts once the batches are served; 3 where a batch has landed but does not come further."""
        from millwright.landing.batches import receipt

        ends = follow(self.conn, self.settings, self.definitions, list(dict.fromkeys(batch_ids)))
        found = {}
        for number, end in ends.items():
            done = _done(receipt(self.conn, number))
            found[number] = Done(done.model, done.code or (0 if end.ended else 3))
        return found


def _found(given: Sequence[str], filename: str | None) -> list[_File]:
    """The files that the arguments mean, each once. Raises UsageError, BadName."""
    found: dict[str, _File] = {}
    for word in given:
        if word == _STDIN:
            if filename is None:
                raise click.UsageError("The standard input has no name: add --filename, such as --filename today.csv.")
            found[_STDIN] = _File(None, filename)
            continue
        names = [word] if Path(word).exists() else sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - a pattern may begin anywhere
        paths = [Path(name) for name in names]
        files = [path for path in paths if path.is_file()]
        if not files:
            what = "is a folder: name its files, such as" if paths and paths[0].is_dir() else "does not exist:"
            raise click.UsageError(f"{word} {what} {Path(word) / '*.csv'}" if paths else f"There is no file {word!r}.")
        found |= {str(path.absolute()): _File(path, path.name) for path in files}
    if filename is not None and _STDIN not in found:
        raise click.UsageError("--filename names the standard input; give - as the file.")
    return list(found.values())


def _options(given: dict[str, Any]) -> Delivery:
    """Raises UsageError for text that does not fit its option."""
    from millwright.landing.mapping import BadOptions

    texts = {}
    for name, value in given.items():
        if isinstance(value, bool):
            texts[name] = ["true"] if value else []
        elif isinstance(value, tuple):
            texts[name] = list(value)
        else:
            texts[name] = [] if value is None else [value]
    try:
        return delivery(texts)
    except BadOptions as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def _on_disk(file: _File, settings: Settings) -> Iterator[Path]:
    """A path with the file's bytes; those of the standard input are gone afterwards. Raises TooLarge."""
    limit = settings.max_file_bytes
    if file.path is not None:
        if file.path.stat().st_size > limit:
            raise too_large(limit)
        yield file.path
        return
    with TemporaryDirectory(prefix="millwright-") as folder:
        path, size = Path(folder) / "stdin", 0
        with path.open("wb") as out:
            while piece := sys.stdin.buffer.read(1024 * 1024):
                if (size := size + len(piece)) > limit:
                    raise too_large(limit)
                out.write(piece)
        yield path


def _ended(done: Done) -> dict[str, Any]:
    assert isinstance(done.model, Receipt)
    return {"receipt": done.model, "state": done.model.state, "error": done.model.error}


def _uploaded(file: _File, receipt: Receipt) -> Uploaded:
    return Uploaded(file=file.name, state=receipt.state, error=receipt.error, receipt=receipt)


def _done(receipt: Receipt) -> Done:
    if receipt.state not in ("landed", "dry_run"):
        return Done(receipt, 1)
    return Done(receipt, 3 if receipt.quarantined else 0)
