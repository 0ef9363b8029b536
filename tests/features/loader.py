"""The plant of the engine's tests fed by the real loader: CSV bytes are received, landed, corrected and undone.

Belongs here: deliveries through landing/. Does not: what comes of them (the tests), the loader's own tests (tests/landing).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from millwright.landing.load import land
from millwright.landing.mapping import Delivery
from millwright.landing.receive import receive
from millwright.landing.undo import undo
from millwright.warehouse.timestamps import from_us, to_us
from tests.features.oracle import Event, Wanted
from tests.features.plant import Plant

HEADER = "event_timestamp,machine_id,sensor_type,a,b"


class Loader(Plant):
    """A plant whose rows come by CSV. Events of one series and time in several deliveries must be equal, or corrections."""

    def __init__(self, url: str, features: Sequence[Wanted], folder: Path, **settings: Any) -> None:
        super().__init__(url, features, project=folder, postgres_url=url, **settings)
        self.files = 0

    def upload(self, events: Iterable[Event], *, correction: bool = False) -> int:
        """Land one file of them, in their order; returns its batch."""
        self.files += 1
        lines = [HEADER, *(_line(event) for event in events), ""]
        received = receive(
            self.conn, self.settings, self.definitions, BytesIO("\n".join(lines).encode()),
            dataset="fleet", file_name=f"{self.files}.csv", delivery=Delivery(correction=correction), channel="upload", by="test",
        )  # fmt: skip
        receipt = land(self.conn, self.settings, self.definitions, received.batch_id)
        assert (receipt.state, receipt.quarantined) == ("landed", 0), receipt
        assert received.batch_id is not None
        return received.batch_id

    def take_back(self, batch: int) -> None:
        """Undo a delivery, and those that met its rows."""
        undo(self.conn, batch, cascade=True, by="test")

    def landed(self) -> list[Event]:
        """What the warehouse holds."""
        rows = self.conn.execute(
            "select s.keys[1], s.sensor_type, m.event_timestamp, m.readings"
            " from warehouse.measurements m join warehouse.series s using (series_id)"
        )
        return [
            Event(key, sensor, to_us(at), tuple((name, float(value)) for name, value in sorted(readings.items())))
            for key, sensor, at, readings in rows
        ]

    def reset(self) -> None:
        """As new, and the ledger too."""
        self.conn.execute(
            "truncate landing.quarantine, landing.met, warehouse.measurements_history, warehouse.event_rows_history cascade"
        )
        super().reset()


def _line(event: Event) -> str:
    cells = dict(event.readings)
    at = from_us(event.t)
    return ",".join([at.isoformat(), str(event.key), event.sensor_type, *(repr(cells[n]) if n in cells else "" for n in "ab")])
