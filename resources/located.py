"""What every resource of ours shares: the two folders from which the settings follow.

Belongs here: folders → settings. Does not: any connection.
"""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from millwright.settings import Settings


class Located(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A resource that finds its server by the settings of a project folder and its state folder."""

    project: str = Field(default="", description="Folder that holds feature_repo; empty: MILLWRIGHT_PROJECT or the current one.")
    home: str = Field(default="", description="State folder; empty: MILLWRIGHT_HOME or .millwright in the project.")

    def settings(self) -> Settings:
        """The settings as they are now: a restarted stack is found again."""
        given = {name: value for name, value in (("project", self.project), ("home", self.home)) if value}
        return Settings.model_validate(given) if not given else Settings(**given)  # type: ignore[arg-type]
