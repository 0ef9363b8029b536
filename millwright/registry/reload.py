"""Tells the running Dagster that definitions changed, so that its code location is loaded anew.

Belongs here: GraphQL over HTTP. Does not: Dagster's Python, what is defined.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from millwright.settings import Settings

_LOCATIONS = "query { workspaceOrError { ... on Workspace { locationEntries { name } } } }"
_RELOAD = """
mutation Reload($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
  }
}
"""


def reload_code_locations(settings: Settings, timeout: float = 60) -> str:
    """Reload every code location of the webserver of `settings`; returns in words what happened. Never raises."""
    if settings.webserver_port is None:
        return "no webserver is configured: nothing to reload"
    url = f"http://127.0.0.1:{settings.webserver_port}/graphql"
    try:
        entries = _ask(url, _LOCATIONS, {}, timeout)["workspaceOrError"].get("locationEntries", [])
        failed = [f"{entry['name']}: {problem}" for entry in entries if (problem := _reload(url, entry["name"], timeout))]
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return "no webserver is running: nothing to reload"
        return f"the webserver did not answer ({error.reason}): reload the code location in its UI"
    except (OSError, KeyError, TypeError, ValueError) as error:
        return f"the webserver's answer was not understood ({error!r}): reload the code location in its UI"
    if failed:
        return f"the code location did not load: {'; '.join(failed)}"
    return f"reloaded {', '.join(entry['name'] for entry in entries)}"


def _reload(url: str, name: str, timeout: float) -> str | None:
    answer = _ask(url, _RELOAD, {"name": name}, timeout)["reloadRepositoryLocation"]
    if answer["__typename"] != "WorkspaceLocationEntry":
        return str(answer["__typename"])
    loaded = answer["locationOrLoadError"]
    return str(loaded["message"]) if loaded["__typename"] == "PythonError" else None


def _ask(url: str, query: str, variables: dict[str, Any], timeout: float) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        answer: dict[str, Any] = json.load(response)["data"]
        return answer
