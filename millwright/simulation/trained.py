"""A model that was trained on the simulated fleet, for the demo: will a press fail within 24 hours?

Belongs here: the file and the features it reads, in their order. Does not: training it (examples/press_failures.py wrote it).
"""

from __future__ import annotations

from pathlib import Path

NAME = "press_failures"
FILE = Path(__file__).with_name("press_failures.onnx")
VIEW = "machine_vitals_v1"
FEATURES = (
    "temperature_mean_1h",
    "temperature_max_6h",
    "temperature_mean_1d",
    "temperature_last",
    "vibration_max_15m",
    "vibration_mean_1h",
    "vibration_mean_1d",
    "pressure_min_1h",
)
