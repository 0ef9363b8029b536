"""The whole platform, up for the tests of this folder and no longer: idle, it takes a tenth of a processor from the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.up import Up, up


@pytest.fixture(scope="package")
def live() -> Iterator[Up]:
    """Up and applied. A test that uses it has the marker kafka and is in the xdist group live."""
    with up() as running:
        yield running
