"""An ONNX file as something that predicts: verified bytes, named inputs and outputs, columns in, rows out.

Belongs here: the only use of ONNX Runtime. Does not: features (signature.py), policies (predict.py).

A model is loaded from bytes: a file beside it ("external data"), which its SHA-256 would not cover, is refused by the runtime.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from millwright.definitions.deployed import FOLDER, Model

DTYPES: dict[str, Any] = {"float": np.float32, "double": np.float64, "int64": np.int64, "bool": np.bool_, "string": np.object_}
"""Element types of ONNX that an input may have."""
_TENSOR = re.compile(r"tensor\((\w+)\)")
_MAPS = re.compile(r"seq\(map\((?:int64|string),tensor\((?:float|double)\)\)\)")
Array = npt.NDArray[Any]


class BadModel(ValueError):
    """A file that is no ONNX model, or none that can predict from features."""


class ChangedFile(RuntimeError):
    """The ONNX file is not the one that was deployed, or is gone."""


@dataclass(frozen=True)
class Port:
    """An input: its element type and the sizes of its dimensions; None where any goes."""

    name: str
    kind: str
    shape: tuple[int | None, ...]

    @property
    def width(self) -> int | None:
        """Columns that it takes; None: any number."""
        return 1 if len(self.shape) == 1 else self.shape[1]


class Session:
    """A loaded model. `run` may be called from any thread."""

    def __init__(self, data: bytes) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # a worker serves many requests side by side
        options.log_severity_level = 4  # its errors are raised: that is where they are told
        try:
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors have no class of their own in common
            raise BadModel(f"ONNX Runtime does not load it: {_first_line(error)}") from error
        self.seconds = 0.0  # that the last run took
        self.inputs = tuple(_port(each) for each in self._session.get_inputs())
        self.outputs = tuple(each.name for each in self._session.get_outputs())
        for each in self._session.get_outputs():
            if not _TENSOR.fullmatch(each.type) and not _MAPS.fullmatch(each.type):
                raise BadModel(f"its output {each.name} is {each.type}; a tensor, or a probability by class, can be told")

    def run(self, fed: Mapping[str, Array], rows: int) -> list[dict[str, Any]]:
        """Outputs by name of each row. Raises BadModel where the model fails, or gives other than a value a row."""
        began = time.perf_counter()
        try:
            found = self._session.run(None, dict(fed))
        except Exception as error:  # as above
            raise BadModel(f"it fails: {_first_line(error)}") from error
        self.seconds = time.perf_counter() - began
        columns = [_rows(name, value, rows) for name, value in zip(self.outputs, found, strict=True)]
        return [dict(zip(self.outputs, values, strict=True)) for values in zip(*columns, strict=True)]


def load_session(feature_repo: Path, model: Model) -> Session:
    """The session of a model's file, whose bytes are verified. Raises ChangedFile, BadModel."""
    return Session(verified(feature_repo, model))


def verified(feature_repo: Path, model: Model) -> bytes:
    """The bytes of a model's file. Raises ChangedFile where they are not those that the definition names."""
    path = feature_repo / FOLDER / model.onnx.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ChangedFile(f"{path} cannot be read ({error.strerror}): put the file of {model.id} back") from None
    if (found := hashlib.sha256(data).hexdigest()) != model.onnx.sha256:
        raise ChangedFile(
            f"{path} has the SHA-256 {found[:12]}…, but {model.id} was deployed with {model.onnx.sha256[:12]}…: put that file "
            "back, or deploy the changed one as a new version"
        )
    return data


def _port(each: Any) -> Port:
    kind = _TENSOR.fullmatch(each.type)
    if kind is None:
        raise BadModel(f"its input {each.name} is {each.type}, not a tensor")
    return Port(each.name, kind[1], tuple(size if isinstance(size, int) else None for size in each.shape))


def _rows(name: str, value: Any, rows: int) -> Sequence[Any]:
    if isinstance(value, list):  # a probability by class a row
        found = [{str(key): number for key, number in each.items()} for each in value]
    elif value.ndim == 2 and value.shape[1] == 1:
        found = value[:, 0].tolist()
    else:
        found = value.tolist() if value.ndim else [value.item()]
    if len(found) != rows:
        raise BadModel(f"its output {name} has {len(found)} values for {rows} rows: it must give one a row")
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
