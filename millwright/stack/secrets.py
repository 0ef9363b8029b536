"""The secrets of docker-compose.yml as files: generated passwords and the connections that hold them.

Belongs here: writing that folder once. Does not: the embedded stack's own passwords (state).
Usage: python -m millwright.stack.secrets FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from secrets import token_urlsafe

from millwright.stack import bootstrap


def contents() -> dict[str, str]:
    """File name → content, with new passwords. Hosts are the services of docker-compose.yml."""

    def postgres(role: str, database: str, scheme: str = "postgresql") -> str:
        return f"{scheme}://{role}:{token_urlsafe(24)}@postgres:5432/{database}"

    redis = token_urlsafe(24)
    return {
        "POSTGRES_PASSWORD": token_urlsafe(24),
        "REDIS_CONF": f"requirepass {redis}\n",
        "MILLWRIGHT_POSTGRES_URL": postgres(bootstrap.APP, bootstrap.DATABASE),
        "MILLWRIGHT_POSTGRES_OWNER_URL": postgres(bootstrap.OWNER, bootstrap.DATABASE),
        "MILLWRIGHT_POSTGRES_READER_URL": postgres(bootstrap.READER, bootstrap.DATABASE),
        "MILLWRIGHT_DAGSTER_POSTGRES_URL": postgres(bootstrap.DAGSTER, bootstrap.DAGSTER_DATABASE, "postgresql+psycopg2"),
        "MILLWRIGHT_REDIS_URL": f"redis://:{redis}@redis:6379/0",
    }


def write(folder: Path) -> list[Path]:
    """Write the files into `folder`, which only its owner can enter. Raises `FileExistsError` rather than replace one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    written = []
    for name, content in contents().items():
        path = folder / name
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
        path.chmod(0o444)  # the folder keeps others out; in a container another user reads the file
        written.append(path)
    return written


def main() -> int:
    """Command line; exit code 1 when a file is there already."""
    parser = argparse.ArgumentParser(prog="python -m millwright.stack.secrets", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    try:
        written = write(folder)
    except FileExistsError as error:
        sys.stderr.write(
            f"{error.filename} is there already and was kept: the databases know its password. Nothing was replaced.\n"
        )
        return 1
    sys.stdout.write(f"Wrote {len(written)} files to {folder}. Keep them out of version control.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
