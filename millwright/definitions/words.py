"""The word that somebody meant: names near to a wrong one, and which fields there are at a place of a definition.

Belongs here: suggestions for messages. Does not: what is wrong (load.py, views.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel


def nearest(word: str, words: Iterable[str]) -> str:
    """` (did you mean …?)` with the nearest of `words`, or nothing."""
    match = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {match[0]}?)" if match else ""


def field_names(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Names of the fields at a place of a definition of `model`, as a file writes them; none where it is no mapping of fields."""
    for part in path:
        if isinstance(part, int) or not (found := [field for name, field in model.model_fields.items() if name == part]):
            continue  # a place in a list, or a name in a mapping: the model is that of the whole
        inner = next(_models(found[0].annotation), None)
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
