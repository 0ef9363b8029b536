"""Folds lines of one key that have one reading each into one row: a long file lands as fast as a wide one.

Belongs here: which lines may be folded, and the row that they come to. Does not: the proof that they meet nothing (direct.py).

The row is what line after line would leave: the first line gives batch and position, readings of later lines are in `sources`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
_ONE_READING = r'^\{(?P<name>"(?:[^"\\]|\\.)*"):(?:"(?:[^"\\]|\\.)*"|[^",{}\[\]\\]*)\}$'


def starts(series: Ints, times: Ints) -> Ints:
    """Where each key begins in lines that are sorted by key."""
    return np.flatnonzero((np.diff(series, prepend=-1) != 0) | (np.diff(times, prepend=times[:1]) != 0))


def clashing(readings: pa.ChunkedArray, first: Ints) -> npt.NDArray[np.bool_]:
    """Lines of keys that cannot be folded: two of them have one reading, or one has several. `first`: where each key begins."""
    sizes = np.diff(np.append(first, len(readings)))
    repeated = np.repeat(sizes > 1, sizes)
    bad = np.zeros(len(readings), dtype=np.bool_)
    if not repeated.any():
        return bad
    at = np.flatnonzero(repeated)
    key = np.repeat(np.arange(len(first)), sizes)
    names = _names(readings.take(pa.array(at))).dictionary_encode()
    codes = names.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.lexsort((codes, key[at]))
    keys, codes = key[at][order], codes[order]
    twice = (keys[1:] == keys[:-1]) & (codes[1:] == codes[:-1])
    broken = np.zeros(len(first), dtype=np.bool_)
    broken[keys[codes < 0]] = True
    broken[keys[1:][twice]] = True
    return broken[key]


def fold(readings: pa.ChunkedArray, positions: Ints, first: Ints, batch_id: int) -> tuple[pa.Array, pa.Array]:
    """Readings and sources (JSON text, null where one line gave all) of each key, from its lines in the order of the file."""
    text = readings.combine_chunks() if isinstance(readings, pa.ChunkedArray) else readings
    ends = np.append(first, len(text)).astype(np.int32)
    members = pc.utf8_slice_codeunits(text, 1, -1)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends), members), ",")
    later = np.ones(len(text), dtype=np.bool_)
    later[first] = False
    names = _names(text.filter(pa.array(later)))
    places = pc.cast(pa.array(positions[later]), pa.string())
    told = pc.binary_join_element_wise(names, f":[{batch_id},", places, "]", "")
    counts = np.append(0, np.cumsum(np.diff(ends) - 1)).astype(np.int32)
    sources = pc.binary_join(pa.ListArray.from_arrays(pa.array(counts), told), ",")
    braced = pc.if_else(pc.equal(sources, ""), None, pc.binary_join_element_wise("{", sources, "}", ""))
    return pc.binary_join_element_wise("{", joined, "}", ""), braced


def _names(readings: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The name of a line's only reading, as JSON text; null where it has none or several."""
    text = readings.combine_chunks() if isinstance(readings, pa.ChunkedArray) else readings
    return pc.struct_field(pc.extract_regex(text, _ONE_READING), "name")
