"""Feast's objects, built from the definition files beside this one and the catalog: `feast plan` finds them here.

`millwright apply` registers the same objects; there is nothing to edit.
"""

from pathlib import Path

from millwright.registry import repository_objects

for _object in repository_objects(Path(__file__).parent):
    globals()[f"{type(_object).__name__}_{_object.name}"] = _object
