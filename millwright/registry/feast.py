"""Feast's registry: opened with the platform's connections, and brought to what is applied.

Belongs here: feature_store.yaml → FeatureStore, registering and removing objects. Does not: building them (feast_objects.py).
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Any

import yaml

from millwright.definitions import Model
from millwright.registry.feast_objects import Registered, build
from millwright.settings import Settings
from millwright.warehouse import plain_feast

CONFIGURATION = "feature_store.yaml"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class FeastMisconfigured(RuntimeError):
    """feature_store.yaml contradicts the settings."""


def configured(settings: Settings) -> bool:
    """Whether the repository has a feature_store.yaml."""
    return (settings.feature_repo / CONFIGURATION).exists()


def keys_expire(settings: Settings) -> timedelta | None:
    """The age at which the online store was told to let keys go (`key_ttl_seconds`); None: never."""
    if not configured(settings):
        return None
    fields = yaml.safe_load((settings.feature_repo / CONFIGURATION).read_text(encoding="utf-8"))
    online = fields.get("online_store")
    seconds = online.get("key_ttl_seconds") if isinstance(online, dict) else None
    return timedelta(seconds=int(seconds)) if seconds else None


def feature_store(settings: Settings, **changes: Any) -> Any:
    """A feast.FeatureStore of the repository; connections that the file leaves open come from `settings`.

    `changes` replace top-level fields of the file, such as `online_store={"type": "sqlite", "path": …}`.
    """
    from feast import FeatureStore, RepoConfig

    path = settings.feature_repo / CONFIGURATION
    fields = yaml.safe_load(os.path.expandvars(path.read_text(encoding="utf-8")))
    if fields.get("project") != settings.feast_project:
        raise FeastMisconfigured(
            f"{path}: project is {fields.get('project')!r}, but MILLWRIGHT_FEAST_PROJECT is {settings.feast_project!r}. "
            "Both name the keys in Redis: make them equal."
        )
    fields.update(changes)
    registry = fields.get("registry")
    if isinstance(registry, dict):
        extra = registry.get("sqlalchemy_config_kwargs") or {}
        if plain_feast.PLUGIN in extra.get("plugins", []):
            plugins = [name for name in extra["plugins"] if name != plain_feast.PLUGIN]
            url = plain_feast.registry_url(settings).render_as_string(hide_password=False)
            extra = {**extra, "plugins": plugins}
            fields["registry"] = {**registry, "path": url, "sqlalchemy_config_kwargs": extra}
    online = fields.get("online_store")
    if isinstance(online, dict) and str(online.get("type", "")).startswith("millwright.") and not online.get("connection_string"):
        fields["online_store"] = {**online, "connection_string": settings.require("redis_url")}
    offline = fields.get("offline_store")
    if isinstance(offline, dict) and str(offline.get("type", "")).startswith("millwright.") and not offline.get("host"):
        fields["offline_store"] = {**plain_feast.offline_fields(settings), **offline}
    config = RepoConfig(**fields)
    config.repo_path = settings.feature_repo
    return FeatureStore(config=config)


def register(settings: Settings, views: list[Registered], models: list[Model], retired: list[str]) -> list[str]:
    """Bring the registry to `views` and the services of `models`; returns what it changed in words.

    `retired` views, and services without an active version or a model, are removed. The caller serializes: Feast's SQL registry
    loses concurrent updates.
    """
    from feast.feature_view import DUMMY_ENTITY
    from feast.project import Project
    from feast.repo_contents import RepoContents

    store = feature_store(settings)
    objects = build(views, models)
    kinds = {
        kind: [each for each in objects if type(each).__name__ == kind] for kind in ("Entity", "FeatureView", "FeatureService")
    }
    sources = [each.batch_source for each in kinds["FeatureView"]]
    project = Project(name=settings.feast_project)
    contents = RepoContents(
        projects=[project],
        data_sources=sources,
        entities=[*kinds["Entity"], DUMMY_ENTITY],
        feature_views=kinds["FeatureView"],
        feature_services=kinds["FeatureService"],
        on_demand_feature_views=[],
        stream_feature_views=[],
        label_views=[],
        permissions=[],
    )
    difference, _, _ = store.plan(contents)
    plain = _COLOUR.sub("", difference.to_string())
    words = [line.strip() for line in plain.splitlines() if line.strip() and "No changes" not in line]
    named = {service.name for service in kinds["FeatureService"]}
    gone = [view for view in store.list_feature_views() if view.name in retired]
    ours = [service for service in store.list_feature_services() if service.tags.keys() & {"feature_view", "model"}]
    gone_services = [service for service in ours if service.name not in named]
    if words or gone or gone_services:
        everything = [project, *sources, *contents.entities, *kinds["FeatureView"], *kinds["FeatureService"]]
        store.apply(everything, objects_to_delete=[*gone, *gone_services], partial=not (gone or gone_services))
    return words
