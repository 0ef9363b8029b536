"""Definitions: the YAML files of the feature repository as models, names and units.

Belongs here: reading, checking and writing files. Does not: databases, Feast, Dagster, computation.
"""

from millwright.definitions.datasets import Dataset, Reading
from millwright.definitions.deployed import Model
from millwright.definitions.features import Feature
from millwright.definitions.load import DefinitionErrors, load
from millwright.definitions.models import (
    Definitions,
    Entity,
    FeatureView,
    Topic,
)

__all__ = ["Dataset", "DefinitionErrors", "Definitions", "Entity", "Feature", "FeatureView", "Model", "Reading", "Topic", "load"]
