"""How many examples a property test tries: few in `make test`, many in `make torture`."""

from __future__ import annotations

from hypothesis import settings

TORTURE = "torture"
settings.register_profile(TORTURE)


def examples(few: int) -> int:
    """`few`, or forty times as many under --hypothesis-profile=torture."""
    return few * 40 if torture() else few


def torture() -> bool:
    """Whether this is `make torture`."""
    return settings.get_current_profile_name() == TORTURE
