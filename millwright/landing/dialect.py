"""How the cells of a file are told apart: delimiter, quote, escape; and a line's cells by it.

Belongs here: what a dialect is, splitting one line. Does not: finding it out (sniff.py), whole blocks (records.py, cells.py).

Outside RFC 4180 are: spaces after the delimiter, which are no part of a cell (`a, "b, c"`; of a delimiter that is a space: runs
of spaces count as one); and backslash escapes, where `\\` before a quote, a delimiter, a line end or a backslash takes its
meaning away. A backslash before anything else means different things to different writers: such a line is set aside.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from millwright.landing.rows import Refused

_LONGEST = 2**31 - 1


@dataclass(frozen=True)
class Dialect:
    """Delimiter (one character), whether spaces after it are left out, quote ("" = none), escape of a quote, comment mark."""

    delimiter: str = ","
    spaces: bool = False
    quote: str = '"'
    escape: Literal["double", "backslash"] = "double"
    comment: str = ""

    def __post_init__(self) -> None:
        if self.delimiter in ("\n", "\r", "\0", "\\", self.quote):
            raise Refused(f"{self.delimiter!r} cannot be the delimiter (--delimiter). Nothing was loaded.")

    @property
    def plain(self) -> bool:
        """DuckDB splits it: one byte between cells, quotes doubled."""
        return not self.spaces and self.escape == "double" and self.delimiter.isascii()

    @property
    def special(self) -> bytes:
        """The quote and the escape: where a block has none of them, each line is a record."""
        return (self.quote + ("\\" if self.escape == "backslash" else "")).encode()

    def facts(self) -> dict[str, Any]:
        """As a receipt has it, and as Format takes it."""
        told: dict[str, Any] = {"delimiter": self.delimiter + " " * self.spaces, "quote": self.quote}
        if self.escape == "backslash":
            told["escape"] = self.escape
        if self.comment:
            told["comment"] = self.comment
        return told

    @cached_property
    def record(self) -> re.Pattern[bytes]:
        """One regular record with its line end."""
        quote, mark = re.escape(self.quote.encode()), re.escape(self.delimiter.encode())
        backslash = rb"|\\[\s\S]" if self.escape == "backslash" else b""
        barred = quote + rb"\n" + (rb"\\" if backslash else b"")
        bare = rb"(?:(?!" + mark + rb")[^" + barred + rb"]" + backslash + rb")*+"
        if len(self.delimiter.encode()) == 1 and not backslash:
            bare = rb"[^" + barred + mark + rb"]*+"
        cell = bare
        if quote:
            inside = rb"[^" + quote + (rb"\\" if backslash else b"") + rb"]|" + quote + quote + backslash
            cell = rb"(?:" + quote + rb"(?:" + inside + rb")*+" + quote + rb"|" + bare + rb")"
        if self.spaces:
            cell = b" *+" + cell
        ending = rb" *+" if self.spaces and self.delimiter == " " else b""
        return re.compile(cell + rb"(?:" + mark + cell + rb")*+" + ending + rb"\r?(?:\n|\Z)")

    @cached_property
    def _unclear(self) -> re.Pattern[bytes]:
        known = [re.escape(mark.encode()) for mark in ("\\", self.delimiter, self.quote, "\r", "\n") if mark]
        return re.compile(rb"\\(?:" + b"|".join(known) + b")")

    def unclear(self, record: bytes) -> bool:
        """A backslash stands before something that it does not escape everywhere."""
        return self.escape == "backslash" and b"\\" in record and b"\\" in self._unclear.sub(b"", record)

    def reader(self, records: Any) -> Any:
        """Python's CSV reader over texts of one record each."""
        csv.field_size_limit(_LONGEST)
        return csv.reader(
            records,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar="\\" if self.escape == "backslash" else None,
            doublequote=True,
            skipinitialspace=self.spaces,
            strict=True,
        )

    def trimmed(self, record: str) -> str:
        """The record as the reader needs it: between runs of spaces, none at the end."""
        return record.rstrip(" ") if self.spaces and self.delimiter == " " else record

    def cells(self, record: str) -> list[str]:
        """The cells of one record; raises csv.Error for a record that is none by this dialect."""
        found: list[list[str]] = list(self.reader([self.trimmed(record)]))
        if len(found) != 1:
            raise csv.Error("no whole record")
        return found[0]
