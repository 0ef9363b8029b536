"""Opens a file of the landing zone as plain bytes: gzip and zstd unpacked with caps, other packed and binary files refused.

Belongs here: magic bytes, streaming decompression, the digest of what was received. Does not: text (encoding.py), cells.

Unpacked bytes go to an unlinked temporary file, so that memory stays bounded and lines can be read again. A packed file's digest
is checked here, before any row is read; a plain file's by who reads it.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from millwright.landing.limits import Limits
from millwright.landing.rows import Refused, Unavailable

_PIECE = 1024 * 1024
_ZSTD_PIECE = 1024
"""So little at once, for a few bytes of zstd may unpack to 128 kB, and its decompressor gives all that a piece holds."""
_SMALL = 16 * 1024 * 1024
"""Below this the ratio does not matter: a short file of equal rows packs very well."""
_WINDOW = 128 * 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_EXPORT = "Export it as CSV (UTF-8) and deliver that."
_UNPACK = "Unpack it and deliver the CSV that is in it (gzip and zstd are read as they are)."
_BINARY = {
    b"PK\x03\x04": (
        "a zip or Excel file (.zip, .xlsx, .ods)",
        "Unpack the CSV that is in it, or export the sheet as CSV (UTF-8).",
    ),
    b"PK\x05\x06": ("an empty zip file", _EXPORT),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old Excel file (.xls)", "Export the sheet as CSV (UTF-8)."),
    b"PAR1": ("a Parquet file", _EXPORT),
    b"ARROW1": ("an Arrow file", _EXPORT),
    b"FEA1": ("a Feather file", _EXPORT),
    b"ORC": ("an ORC file", _EXPORT),
    b"Obj\x01": ("an Avro file", _EXPORT),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", _EXPORT),
    b"SQLite format 3\0": ("an SQLite database", _EXPORT),
    b"%PDF": ("a PDF", _EXPORT),
    b"{\\rtf": ("an RTF document", _EXPORT),
    b"\x89PNG\r\n\x1a\n": ("a PNG image", _EXPORT),
    b"\xff\xd8\xff": ("a JPEG image", _EXPORT),
    b"GIF8": ("a GIF image", _EXPORT),
    b"\x7fELF": ("a program", _EXPORT),
    b"BZh": ("a bzip2 file", _UNPACK),
    b"\xfd7zXZ\0": ("an xz file", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z file", _UNPACK),
    b"Rar!\x1a\x07": ("a rar file", _UNPACK),
}


@dataclass(frozen=True)
class Opened:
    """Plain bytes to read and seek in; how they were packed; whether the received bytes' digest has been checked."""

    file: BinaryIO
    compression: Literal["gzip", "zstd"] | None
    checked: bool


def open_plain(path: Path, limits: Limits, sha256: str | None) -> Opened:
    """Open a file, unpacked. Raises Refused for what is no text or unpacks too far, Unavailable when it is another."""
    file = open_raw(path)
    head = file.read(512)
    if not head:
        raise Refused("The file is empty (0 bytes). Nothing was loaded; export it again.")
    compression: Literal["gzip", "zstd"] | None = None
    if head.startswith(_GZIP):
        compression = "gzip"
    elif head.startswith(_ZSTD):
        compression = "zstd"
    if compression is None:
        _check_magic(head, "The file is")
        file.seek(0)
        return Opened(file, None, checked=False)
    file.seek(0)
    digest = hashlib.sha256()
    plain = cast(BinaryIO, tempfile.TemporaryFile(prefix="millwright-"))  # noqa: SIM115 - it lives as long as what reads it
    size = 0
    for piece in _unpacked(file, compression, digest):
        size += len(piece)
        _check_size(size, file.tell(), limits)
        plain.write(piece)
    check_digest(path, digest.hexdigest(), sha256)
    plain.seek(0)
    inside = plain.read(512)
    if not inside:
        raise Refused(f"The {compression} file has nothing in it (0 bytes). Nothing was loaded; export it again.")
    if inside.startswith((_GZIP, _ZSTD)):
        raise Refused(f"In the {compression} file is another packed file. Nothing was loaded; unpack it once and deliver that.")
    _check_magic(inside, f"In the {compression} file is")
    plain.seek(0)
    return Opened(plain, compression, checked=True)


def open_raw(path: Path) -> BinaryIO:
    """The file as it lies there; raises Unavailable when it is gone."""
    try:
        return path.open("rb")
    except OSError as error:
        raise Unavailable(f"The landing zone has lost {path.name} ({error.strerror}). Deliver the file again.") from error


def check_digest(path: Path, found: str, sha256: str | None) -> None:
    """Raise Unavailable when the bytes read are not the ones received."""
    if sha256 is not None and found != sha256:
        raise Unavailable(
            f"{path.name} in the landing zone is not what was received (its SHA-256 differs). Deliver the file again."
        )


def verify(path: Path, sha256: str | None) -> None:
    """Read the whole file for its digest; raises Unavailable when it is gone or not what was received."""
    if sha256 is None:
        return
    with open_raw(path) as file:
        check_digest(path, hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest(), sha256)


def _check_magic(head: bytes, what: str) -> None:
    for magic, (kind, mend) in _BINARY.items():
        if head.startswith(magic):
            raise Refused(f"{what} {kind}, not text. Nothing was loaded. {mend}")
    if head[257:262] == b"ustar":
        raise Refused(f"{what} a tar file, not text. Nothing was loaded. {_UNPACK}")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise Refused(f"{what} a web page or XML, not CSV (perhaps a sign-in page was saved). Nothing was loaded. {_EXPORT}")
    if text.startswith((b'{"', b'[{"', b"[{\n", b"{\n")):
        raise Refused(f"{what} JSON, not CSV. Nothing was loaded. {_EXPORT}")


def _check_size(size: int, packed: int, limits: Limits) -> None:
    if size > limits.unpacked_bytes:
        raise Refused(
            f"The file unpacks to more than {limits.unpacked_bytes:,} bytes (setting max_unpacked_bytes). "
            "Nothing was loaded; split it."
        )
    if size > _SMALL and size > packed * limits.unpacked_ratio:
        raise Refused(
            f"The file unpacks to more than {limits.unpacked_ratio} times its size (setting max_unpacked_ratio), "
            "as files do that are made to fill a disk. Nothing was loaded; if it is good, deliver it unpacked."
        )


def _unpacked(file: BinaryIO, compression: Literal["gzip", "zstd"], digest: Any) -> Iterator[bytes]:
    """The members of the file one after the other, a bounded piece at a time."""
    damaged = f"The {compression} file is damaged or cut off ({{}}). Nothing was loaded; pack or copy it again, and deliver that."
    step = _gzip_step if compression == "gzip" else _zstd_step
    member: Any = None
    rest = b""
    while True:
        if not rest:
            rest = file.read(_PIECE if compression == "gzip" else _ZSTD_PIECE)
            digest.update(rest)
            if not rest:
                break
        if member is None:
            if not rest.strip(b"\0"):  # tapes pad with zeros
                rest = b""
                continue
            member = _member(compression)
        try:
            piece, rest = step(member, rest)
        except (zlib.error, _zstd_error()) as error:
            for left in iter(lambda: file.read(_PIECE), b""):
                digest.update(left)
            raise Refused(damaged.format(error)) from error
        if piece:
            yield piece
        if member.eof:
            member = None
    if member is not None:
        raise Refused(damaged.format("it ends too early"))


def _member(compression: str) -> Any:
    if compression == "gzip":
        return zlib.decompressobj(wbits=31)
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()


def _gzip_step(member: Any, data: bytes) -> tuple[bytes, bytes]:
    piece = member.decompress(data, _PIECE)
    return piece, member.unused_data if member.eof else member.unconsumed_tail


def _zstd_step(member: Any, data: bytes) -> tuple[bytes, bytes]:
    return member.decompress(data), member.unused_data if member.eof else b""


def _zstd_error() -> type[Exception]:
    import zstandard

    error: type[Exception] = zstandard.ZstdError
    return error
