"""Keeps pandas out of a run that does not use it.

Belongs here: the one switch. Does not: what uses pandas (samples.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=fullname)
        return None


def without_pandas() -> None:
    """Let pyarrow do without pandas in this process.

    On its first conversion of a Python value pyarrow imports pandas if it is installed, to recognize its objects: half a
    second of every run. Here that one attempt fails; afterwards pandas can be imported as ever.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    blocker = _NoPandas()
    sys.meta_path.insert(0, blocker)
    try:
        pa.scalar("")
    finally:
        sys.meta_path.remove(blocker)
