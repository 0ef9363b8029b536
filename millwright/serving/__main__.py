"""The API's server: `python -m millwright.serving [--host H] [--port P] [--workers N]`. Does not: serving (server.py)."""

from __future__ import annotations

import argparse

from millwright.serving.server import serve
from millwright.settings import Settings


def main() -> None:
    """Serve until a signal comes."""
    settings = Settings()
    parser = argparse.ArgumentParser(prog="python -m millwright.serving", description="The HTTP API.")
    parser.add_argument("--host", default=settings.api_host)
    parser.add_argument("--port", type=int, default=settings.api_port or 8000)
    parser.add_argument("--workers", type=int, default=settings.api_workers)
    arguments = parser.parse_args()
    serve(arguments.host, arguments.port, arguments.workers)


if __name__ == "__main__":
    main()
