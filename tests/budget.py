"""How many examples a property test tries: few in `make test`, many in `make torture`."""

from __future__ import annotations

import os

from hypothesis import settings

TORTURE = "torture"
TIMES = int(os.environ.get("TORTURE_TIMES", "40"))
settings.register_profile(TORTURE)


def examples(few: int) -> int:
    """`few`, or TIMES as many under --hypothesis-profile=torture."""
    return few * TIMES if torture() else few


def torture() -> bool:
    """Whether this is `make torture`."""
    return settings.get_current_profile_name() == TORTURE
