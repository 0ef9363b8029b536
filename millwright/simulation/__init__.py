"""A simulated fleet of presses, pumps and motors, for the demo, tests and benchmarks.

Belongs here: what the machines do and how their data arrives (files, messages), defects included; all by seed.
Does not: anything that reads data, nor any other room of the platform.
"""

from millwright.simulation.defects import Defect
from millwright.simulation.files import (
    WrittenFile,
    foreign_csv,
    write_correction,
    write_csv,
    write_events,
)
from millwright.simulation.fleet import Event, Machine, events, fleet
from millwright.simulation.readings import messages

__all__ = [
    "Defect",
    "Event",
    "Machine",
    "WrittenFile",
    "events",
    "fleet",
    "foreign_csv",
    "messages",
    "write_correction",
    "write_csv",
    "write_events",
]
