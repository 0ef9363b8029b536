"""What a file's bytes say as text: its encoding, found with certainty or declared, and its text as UTF-8.

Belongs here: encodings, byte order marks, transcoding. Does not: lines and cells.

Undeclared, an encoding is found by these rules, in this order, or the file is refused and `--encoding` named:
- a byte order mark of UTF-8, UTF-16 or UTF-32;
- UTF-16 or UTF-32 without a mark, where the zero bytes of plain characters stand in their places and nowhere else;
- UTF-8, unless more than half of the lines are none (a line that is none is set aside, see csv.py);
- Windows-1252, where not one byte of the file would read differently as Latin-1, Latin-9 or Windows-1250: nothing but `äöüÄÖÜßé`
  next to an ASCII letter, `°`, `µ` that begins a word, and `²` or `³` after an `m` or `s`, on three lines or in the first.

Bytes that a declared encoding does not know become lone surrogates, which UTF-8 cannot have: their line is set aside, and its
bytes can be given back as they came.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from millwright.landing.rows import Refused

_PIECE = 1024 * 1024
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_NO_TEXT = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "mbcs", "oem"}
NAME_IT = "Name its encoding with --encoding (such as --encoding windows-1252), or save it again as `CSV UTF-8`."
_EVIDENT_LINES = 3


@dataclass(frozen=True)
class Encoding:
    """A codec of Python by name, and the length of the mark in front."""

    name: str = "utf-8"
    bom: int = 0

    @property
    def utf8(self) -> bool:
        """The bytes are UTF-8 as they are."""
        return self.name in ("utf-8", "utf-8-sig")

    @property
    def handler(self) -> str:
        """How bytes that are no character are kept."""
        return "surrogatepass" if self.name.startswith(("utf-16", "utf-32")) else "surrogateescape"

    def original(self, text: bytes) -> bytes:
        """The bytes that became this UTF-8; exact where the codec writes each character in one way."""
        return text if self.utf8 else text.decode("utf-8", "surrogatepass").encode(self.name, self.handler)


def find(file: BinaryIO, head: bytes, declared: str | None) -> Encoding:
    """The encoding of a file that begins with `head`; `file` is read through only where the head is not UTF-8. Raises Refused."""
    marked = next((Encoding(name, len(bom)) for bom, name in _BOMS if head.startswith(bom)), None)
    if declared is not None:
        return _declared(declared, marked, head)
    if marked is not None:
        return marked
    if b"\0" in head and (wide := _wide(head)) is not None:
        return Encoding(wide)
    if invalid_at(head, last=False) is None:
        return Encoding()
    if b"\0" in head:
        raise Refused("The file is binary: it has NUL bytes, and is not UTF-8. Nothing was loaded; export it as CSV (UTF-8).")
    return _unmarked(file)


def transcode(file: BinaryIO, encoding: Encoding, out: BinaryIO, *, seen: Callable[[bytes], None]) -> None:
    """Write a file's text as UTF-8, a piece at a time; `seen` gets the bytes read. Raises Refused, naming the line."""
    decoder = codecs.getincrementaldecoder(encoding.name)(encoding.handler)
    seen(file.read(encoding.bom))
    line = 1
    while True:
        piece = file.read(_PIECE)
        seen(piece)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            for rest in iter(lambda: file.read(_PIECE), b""):
                seen(rest)
            raise Refused(
                f"The file is not {encoding.name} as it should be, at or after line {line} ({error.reason}). Nothing was loaded; "
                "name another --encoding, or export it again."
            ) from error
        out.write(text.encode("utf-8", "surrogatepass"))
        line += text.count("\n")
        if not piece:
            return


def invalid_at(data: bytes, *, last: bool) -> int | None:
    """Where the first byte is that is not UTF-8; a character cut off at the end counts only if `last`."""
    try:
        codecs.utf_8_decode(data, "strict", last)
    except UnicodeDecodeError as error:
        return error.start
    return None


def evidently_windows_1252(file: BinaryIO) -> bool:
    """Whether the file holds what the rule above asks for, from its first to its last byte; leaves the position alone."""
    at = file.tell()
    lines, first = 0, False
    for number, piece in enumerate(_whole_lines(file)):
        count, header = _safe_lines(piece)
        if count is None:
            file.seek(at)
            return False
        lines += count
        first = first or (number == 0 and header)
    file.seek(at)
    return first or lines >= _EVIDENT_LINES


def _declared(declared: str, marked: Encoding | None, head: bytes) -> Encoding:
    try:
        codec = codecs.lookup(declared)
    except (LookupError, ValueError):
        codec = None
    if codec is None or not codec._is_text_encoding or codec.name in _NO_TEXT:
        raise Refused(
            f"There is no encoding {declared!r} (--encoding). Nothing was loaded. Known are utf-8, utf-16, "
            "windows-1252, latin-1, shift_jis, gb18030, and what else Python knows."
        )
    name = "utf-8" if codec.name in ("utf-8", "utf-8-sig") else codec.name
    if marked is not None:
        if not marked.name.startswith(name):
            raise Refused(
                f"The file begins with the mark of {marked.name.upper()}, and --encoding says {declared}. Nothing was loaded; "
                "leave --encoding out."
            )
        return marked
    if name in ("utf-16", "utf-32"):
        wide = _wide(head)
        if wide is None or not wide.startswith(name):
            raise Refused(
                "The file has no byte order mark. Nothing was loaded; say which it is: "
                f"--encoding {name}-le, or --encoding {name}-be."
            )
        return Encoding(wide)
    if name.startswith(("utf-16", "utf-32")) and b"\0" not in head and invalid_at(head, last=False) is None:
        raise Refused(
            f"The file reads as UTF-8, and --encoding says {declared}, where a line cannot end without a zero byte. "
            "Nothing was loaded; leave --encoding out."
        )
    return Encoding(name)


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by where the zeros are: most plain characters have theirs, and none stands where it may not."""
    for name, width, character in (("utf-32-le", 4, 0), ("utf-32-be", 4, 3), ("utf-16-le", 2, 0), ("utf-16-be", 2, 1)):
        whole = head[: len(head) // width * width]
        zero = np.frombuffer(whole, dtype=np.uint8).reshape(-1, width) == 0
        others = np.delete(zero, character, axis=1)
        if not zero.size or zero[:, character].mean() > 0.01 or others.mean() < 0.7:
            continue
        if (zero.all(axis=1)).any():
            continue  # a character NUL: no text
        try:
            whole.decode(name, "surrogatepass")
        except UnicodeDecodeError:
            continue
        return name
    return None


def _unmarked(file: BinaryIO) -> Encoding:
    if evidently_windows_1252(file):
        return Encoding("cp1252")
    at = file.tell()
    lines = bad = first = 0
    for piece in _whole_lines(file):
        if invalid_at(piece, last=True) is not None:
            for number, line in enumerate(piece.split(b"\n"), lines + 1):
                if invalid_at(line, last=True) is not None:
                    bad += 1
                    first = first or number
        lines += piece.count(b"\n") + (not piece.endswith(b"\n"))
    file.seek(at)
    if bad * 2 > lines:
        raise Refused(
            f"The file is not UTF-8 (line {first} is the first of {bad:,} lines of {lines:,} that are not), and what it is "
            f"cannot be told with certainty. Nothing was loaded. {NAME_IT}"
        )
    return Encoding()


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Pieces that end with a line (of a file without line ends: anywhere)."""
    file.seek(0)
    carry = b""
    while piece := file.read(_PIECE):
        data = carry + piece
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > 8 * _PIECE:
            cut = len(data)
        if cut:
            yield data[:cut]
        carry = data[cut:]
    if carry:
        yield carry


def _safe_lines(piece: bytes) -> tuple[int | None, bool]:
    """How many lines have other than ASCII characters (None: one may mean different things), and whether the first has."""
    data = np.frombuffer(b"\n" + piece + b"\n", dtype=np.uint8)
    at = np.flatnonzero(data >= 0x80)
    if not at.size:
        return 0, False
    here, before, after = data[at], data[at - 1], data[at + 1]
    letters = np.frombuffer("äöüÄÖÜßé".encode("latin-1"), dtype=np.uint8)
    ascii_before, ascii_after = _ascii_letter(before), _ascii_letter(after)
    letter_before, letter_after = np.isin(before, letters), np.isin(after, letters)
    alone = (before < 0x80) & (after < 0x80)
    two = (~letter_before & letter_after & ascii_before) | (letter_before & ~letter_after & ascii_after)  # Größe
    two |= (letter_before & ascii_after) | (letter_after & ascii_before)
    safe = np.isin(here, letters) & ((alone & (ascii_before | ascii_after)) | (two & ((before < 0x80) | (after < 0x80))))
    safe |= (here == 0xB0) & alone & ~ascii_before
    safe |= (here == 0xB5) & alone & ~ascii_before & ascii_after
    safe |= np.isin(here, (0xB2, 0xB3)) & alone & np.isin(before, (ord("m"), ord("s"))) & ~ascii_after
    if not safe.all():
        return None, False
    lines = np.searchsorted(np.flatnonzero(data == 10), at)
    return int(np.unique(lines).size), bool(lines[0] == 1)


def _ascii_letter(data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    lower = data | 0x20
    return (lower >= ord("a")) & (lower <= ord("z"))
