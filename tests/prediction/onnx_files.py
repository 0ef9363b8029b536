"""Small ONNX models made by hand, so that what they answer is known. Does not: what is tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

FLOAT, DOUBLE, INT64, STRING = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING


def weighted(path: Path, weights: Sequence[float], *, kind: int = FLOAT, rows: int | None = None) -> Path:
    """One input `X` of len(weights) columns; the output `score` is their weighted sum."""
    dtype = np.float32 if kind == FLOAT else np.float64
    matrix = numpy_helper.from_array(np.array(weights, dtype).reshape(-1, 1), "W")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "W"], ["score"])],
        "weighted",
        [helper.make_tensor_value_info("X", kind, [rows, len(weights)])],
        [helper.make_tensor_value_info("score", kind, [rows, 1])],
        [matrix],
    )
    return saved(path, graph)


def named(path: Path, inputs: Mapping[str, int]) -> Path:
    """An input of one column for each name; the output `first` is the first of them."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [next(iter(inputs))], ["first"])],
        "named",
        [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("first", next(iter(inputs.values())), [None, 1])],
    )
    return saved(path, graph)


def saved(path: Path, graph: object) -> Path:
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path
