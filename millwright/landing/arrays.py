"""Small steps on Arrow columns that every rule needs.

Belongs here: masks, trimming, columns into JSON text. Does not: what a value means.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millwright.landing.rows import Cells

Mask = npt.NDArray[np.bool_]


def mask(values: pa.Array) -> Mask:
    """Booleans as a mask; null is false."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def only(values: pa.Array, where: Mask) -> pa.Array:
    """The values of these rows, null elsewhere."""
    return values if where.all() else pc.if_else(pa.array(where), values, None)


def trimmed(cells: Cells, missing_words: pa.Array | None = None) -> tuple[pa.Array, Mask]:
    """Text without spaces and tabs at both ends, and which rows have none, or a word that means none."""
    text = pc.utf8_trim(cells.text, " \t")
    missing = mask(pc.equal(text, ""))
    if missing_words is not None:
        missing |= mask(pc.is_in(text, missing_words))
    return text, missing


def encoded(text: pa.Array) -> pa.Array:
    """Text as JSON strings; nulls stay null."""
    words = text.dictionary_encode()
    quoted = pa.array([json.dumps(word, ensure_ascii=False) for word in words.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(words.indices, quoted).cast(pa.string())


def member(name: str, value: pa.Array) -> pa.Array:
    """`,"name":value` of JSON; null where the value is."""
    return pc.binary_join_element_wise(pa.scalar(f",{json.dumps(name, ensure_ascii=False)}:"), value, "")


def objects(members: Sequence[pa.Array], rows: int) -> pa.Array:
    """JSON objects from their members; a null is left out."""
    if not members:
        return pa.repeat(pa.scalar("{}"), rows)
    # Not null_handling="skip": it leaves out rows that have nothing but nulls.
    inner = pc.binary_join_element_wise(*members, "", null_handling="replace", null_replacement="")
    return pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(inner, 1), "}", "")
