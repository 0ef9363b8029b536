"""What the ledger, receipts and logs call a delivered file.

Belongs here: names as people gave them → one short line. Does not: what identifies a file (its SHA-256), where it is kept.
"""

from __future__ import annotations

import unicodedata

LONGEST = 200
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class BadName(ValueError):
    """A file name that names nothing."""


def label(name: str) -> str:
    """The last part of a path, on one line, at most 200 characters; what cannot be shown becomes `_`.

    The name decides about nothing: it is told, never opened. Raises BadName when nothing is left of it.
    """
    told = shown(name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    if not told.strip("._ "):
        raise BadName("The file has no name. Give one, such as 2026-03-01.csv. Nothing was received.")
    return told


def shown(name: str) -> str:
    """A name as it may stand in a log or a message; its ending is kept when it is shortened."""
    line = "".join("_" if unicodedata.category(letter) in _UNSHOWN else letter for letter in name).strip()
    if len(line) > LONGEST:
        stem, dot, suffix = line.rpartition(".")
        ending = dot + suffix if stem and len(suffix) <= 20 else ""
        line = line[: LONGEST - len(ending) - 1] + "…" + ending
    return line
