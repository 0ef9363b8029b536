"""Writes definition files as a person would: proposed ones aside, options into a dataset's own file with its comments kept.

Belongs here: YAML text and its places. Does not: what is written (landing/), applying it (registry/).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from millwright.definitions.load import load
from millwright.definitions.models import Definitions

PROPOSED = "proposed"
"""Folder of the feature repository whose files are no definitions until they are moved out of it."""
_PLAIN = re.compile(r"\w[\w ./%°-]*")
"""Text that needs no quotes of ours: ruamel gives them to numbers and words of YAML, but not to all that begins with a mark."""
_FOLDERS = ("entities", "datasets", "topics", "feature_views")


def proposed(repo: Path, names: Iterable[str]) -> list[str]:
    """Those of `names` (such as datasets/boiler.yaml) that lie in the folder of proposals."""
    return [name for name in names if (repo / PROPOSED / name).is_file()]


def write_proposed(repo: Path, files: Mapping[str, str]) -> None:
    """Write files into the folder of proposals."""
    for name, text in files.items():
        path = repo / PROPOSED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def load_with(repo: Path, names: Sequence[str]) -> Definitions:
    """The definitions as they were with these proposals among them. Raises DefinitionErrors as `load` does."""
    with TemporaryDirectory(prefix="millwright-") as folder:
        together = Path(folder)
        for part in _FOLDERS:
            if (repo / part).is_dir():
                shutil.copytree(repo / part, together / part)
        for name in names:
            (together / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repo / PROPOSED / name, together / name)
        return load(together)


def move_in(repo: Path, names: Sequence[str]) -> None:
    """Make proposals definitions. Raises FileExistsError, and moves nothing, where a definition is in the way."""
    for name in names:
        if (repo / name).exists():
            raise FileExistsError(f"{repo / name} exists already: remove it, or the proposal beside it in {PROPOSED}/.")
    for name in names:
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / PROPOSED / name).replace(repo / name)


def move_out(repo: Path, names: Sequence[str]) -> None:
    """Take definitions back to the proposals, after `move_in` when they could not be applied."""
    for name in names:
        (repo / name).replace(repo / PROPOSED / name)


def dataset_path(repo: Path, dataset: str) -> Path:
    """The file that defines a dataset."""
    return next(path for suffix in ("yaml", "yml") if (path := repo / "datasets" / f"{dataset}.{suffix}").is_file())


def add(text: str, additions: Mapping[str, Any]) -> str:
    """A definition's text with more fields: mappings and lists are added to, other fields set. Comments and order are kept."""
    yaml = _yaml()
    tree = yaml.load(text)
    for field, value in additions.items():
        there = tree.get(field)
        if isinstance(value, Mapping) and isinstance(there, CommentedMap):
            there.update(flow(value))
        elif isinstance(value, list) and isinstance(there, CommentedSeq):
            there.extend(flow(value))
        else:
            tree[field] = flow(value)
    return _dumped(yaml, tree)


def definition(content: Mapping[str, Any], comments: Sequence[str], *, blocks: Sequence[str] = ()) -> str:
    """A definition's text: comment lines, then the fields; `blocks` are written one entry a line, the others on one line."""
    tree = CommentedMap()
    for field, value in content.items():
        if field in blocks and isinstance(value, Mapping):
            tree[field] = CommentedMap({name: flow(item) for name, item in value.items()})
        elif field in blocks:
            tree[field] = CommentedSeq([flow(item) for item in value])
        else:
            tree[field] = flow(value)
    lines = [f"# {line}".rstrip() for line in comments]
    return "\n".join([*lines, _dumped(_yaml(), tree)])


def flow(value: Any) -> Any:
    """A value that is written on one line."""
    if isinstance(value, Mapping):
        mapping = CommentedMap({flow(name): flow(item) for name, item in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq([flow(item) for item in value])
        sequence.fa.set_flow_style()
        return sequence
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return DoubleQuotedScalarString(value)
    return value


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.allow_unicode = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dumped(yaml: YAML, tree: Any) -> str:
    out = StringIO()
    yaml.dump(tree, out)
    return out.getvalue()
