"""What every definition has, and the words that all of them share.

Belongs here: names, types, the content hash. Does not: any one kind of definition (datasets.py, models.py).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
ReadingType = Literal["double", "int64", "string", "bool"]
KeyType = Literal["string", "int64"]


class Definition(BaseModel):
    """What every definition has. Descriptions, owners and tags are not part of `content_hash`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    owner: str = ""
    tags: dict[str, str] = {}

    def content_hash(self) -> str:
        """SHA-256 (hex) over everything that changes a value; equal for files that differ in prose only.

        Fields at their defaults are left out, so that a field that a later version adds changes no hash.
        """
        content = _without_prose(self.model_dump(mode="json", exclude_defaults=True))
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _without_prose(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_prose(v) for k, v in value.items() if k not in {"description", "owner", "tags"}}
    return [_without_prose(v) for v in value] if isinstance(value, list) else value
