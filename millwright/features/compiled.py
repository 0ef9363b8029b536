"""Which compiled SQL still holds: the definition and the compiler that it was made of, as a mark on its first line.

Belongs here: the mark, and compiling only what bears another. Does not: compiling (windows.py), keeping (registry/).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

from millwright import definitions as definitions_package
from millwright.definitions import Definitions, FeatureView

_SOURCES = (Path(__file__).parent, Path(definitions_package.__file__).parent)
_ENGINES = ("ibis-framework", "sqlglot")


def compiled(definitions: Definitions, view: FeatureView, kept: Mapping[str, str]) -> dict[str, str]:
    """SQL of the view by dialect, each under its mark; `kept` itself when it bears the mark, for compiling takes a second."""
    mark = f"-- {_mark(definitions, view)}\n"
    if kept and all(text.startswith(mark) for text in kept.values()):
        return dict(kept)
    from millwright.features.windows import compile_view

    return {dialect: mark + text for dialect, text in compile_view(definitions, view).items()}


def _mark(definitions: Definitions, view: FeatureView) -> str:
    """Hash of all that the SQL is made of. Descriptions are among it: a compilation too many does no harm."""
    datasets = {name: dataset.model_dump(mode="json") for name, dataset in sorted(definitions.datasets.items())}
    made_of = json.dumps([_compiler(), view.model_dump(mode="json"), datasets])
    return hashlib.sha256(made_of.encode()).hexdigest()


@cache
def _compiler() -> str:
    digest = hashlib.sha256(" ".join(version(name) for name in _ENGINES).encode())
    for folder in _SOURCES:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
