"""How a model's inputs and the features that it reads fit: types and shapes, and columns of values as arrays.

Belongs here: which feature goes to which input, what does not fit. Does not: running (session.py), policies (predict.py).

A model has one input of as many columns as there are features, which take them in their order; or one input of one column a
feature, told apart by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from millwright.definitions.words import nearest
from millwright.prediction.session import DTYPES, Array, BadModel, Port, Session

Mistake = tuple[tuple[str | int, ...], str]
_TAKES: dict[str, frozenset[str]] = {
    "float": frozenset({"double", "int64", "bool"}),
    "double": frozenset({"double", "int64", "bool"}),
    "int64": frozenset({"int64", "bool"}),
    "bool": frozenset({"bool"}),
    "string": frozenset({"string"}),
}
_FILE = ("onnx", "file")
_PROBE: dict[str, Any] = {"double": 0.0, "int64": 0, "bool": False, "string": ""}


class Typed(Protocol):
    """A feature as an input: definitions.deployed.Input."""

    @property
    def feature(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def place(self) -> int: ...  # noqa: D102


def mistakes(session: Session, inputs: Sequence[Typed]) -> Iterator[Mistake]:
    """What does not fit between a model and its features: where in the definition, and what. At the end it is tried out."""
    found = [*_shapes(session.inputs, inputs)]
    if not found:
        found = [*_types(session.inputs, inputs)]
    if not found:
        try:
            session.run(arrays(session.inputs, inputs, [[_PROBE[each.type]] * 2 for each in inputs]), 2)
        except BadModel as error:
            found = [(_FILE, f"tried on two rows of zeros: {error}")]
    yield from found


def arrays(ports: Sequence[Port], inputs: Sequence[Typed], columns: Sequence[Sequence[Any]]) -> dict[str, Array]:
    """Values of the features, a column each without gaps, as the model's inputs take them.

    For an input of float, values are rounded to 32 bits: whole numbers beyond 2^24 and digits beyond the seventh are lost.
    """
    rows = len(columns[0])
    if len(ports) == 1:
        (port,) = ports
        matrix = np.empty((rows, len(inputs)), DTYPES[port.kind])
        with np.errstate(over="ignore"):  # what does not fit is infinite, and told by predict.py
            for place, column in enumerate(columns):
                matrix[:, place] = column
        return {port.name: matrix[:, 0] if len(port.shape) == 1 else matrix}
    named = dict(zip((each.feature for each in inputs), columns, strict=True))
    found: dict[str, Array] = {}
    with np.errstate(over="ignore"):
        for port in ports:
            values = np.array(named[port.name]).astype(DTYPES[port.kind])
            found[port.name] = values if len(port.shape) == 1 else values.reshape(rows, 1)
    return found


def _shapes(ports: Sequence[Port], inputs: Sequence[Typed]) -> Iterator[Mistake]:
    for port in ports:
        if port.kind not in DTYPES:
            yield _FILE, f"its input {port.name} is a tensor of {port.kind}; features are {', '.join(DTYPES)}"
        if len(port.shape) not in (1, 2) or port.shape[0] is not None:
            shape = ", ".join("any" if size is None else str(size) for size in port.shape)
            yield _FILE, f"its input {port.name} has the shape [{shape}]: [any, columns] is needed, for any number of rows"
            return
    if len(ports) == 1:
        if ports[0].width not in (None, len(inputs)):
            names = ", ".join(each.feature for each in inputs)
            yield (
                ("features",),
                f"the model takes {ports[0].width} columns, and these are {len(inputs)} features ({names}): name those that it "
                "was trained with, in their order, as view:feature",
            )
        return
    given = {each.feature: each for each in inputs}
    for port in ports:
        if port.width != 1:
            yield _FILE, f"of several inputs each takes one column; {port.name} takes {port.width or 'any number'}"
        elif port.name not in given:
            yield ("features",), f"the model has an input {port.name}: no feature here is called so{nearest(port.name, given)}"
    for name, each in given.items():
        if name not in {port.name for port in ports}:
            yield ("features", each.place), f"the model has no input {name}; its inputs are {', '.join(p.name for p in ports)}"


def _types(ports: Sequence[Port], inputs: Sequence[Typed]) -> Iterator[Mistake]:
    named = {port.name: port for port in ports}
    for each in inputs:
        port = ports[0] if len(ports) == 1 else named[each.feature]
        if each.type not in _TAKES[port.kind]:
            yield ("features", each.place), f"{each.feature} is {each.type}, and the model's input {port.name} is {port.kind}"
