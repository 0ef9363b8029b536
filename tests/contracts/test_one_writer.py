"""Every table has exactly one writing package (DESIGN §4): the SQL of the whole project is scanned for writes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWNERS = {
    "landing": "warehouse",
    "warehouse": "warehouse",
    "features": "warehouse",
    "catalog": "registry",
    "serving": "serving",
    "online": "online",
}
WRITE = re.compile(
    r"\b(?:insert\s+into|update|delete\s+from|truncate(?:\s+table)?|merge\s+into|copy|create\s+table(?:\s+if\s+not\s+exists)?|alter\s+table"
    r"|drop\s+table(?:\s+if\s+exists)?)\s+(?:only\s+)?\"?(" + "|".join(OWNERS) + r")\"?\.(?:\"?(\w+)|\{)",
    re.IGNORECASE,
)
COPIED = re.compile(r'copy_in\(\w+, sql\.Identifier\("(' + "|".join(OWNERS) + r')", "(\w+)"\)')


def sources() -> list[tuple[Path, str]]:
    """Every text of the project that can reach Postgres: SQL files, and string literals of Python files."""
    texts = []
    for package in ("millwright", "platform_assets", "resources", "sensors"):
        for path in sorted((ROOT / package).rglob("*.sql")):
            texts.append((path, path.read_text(encoding="utf-8")))
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            documentation = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and node.body
                and isinstance(node.body[0], ast.Expr)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                    texts.append((path, node.value))
    return texts


def writer(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "millwright" else parts[0]


def writes() -> set[tuple[str, str, str]]:
    copies = {
        (match[1], match[2], writer(path))
        for path in sorted((ROOT / "millwright").rglob("*.py"))
        for match in COPIED.finditer(path.read_text(encoding="utf-8"))
    }
    return copies | {
        (match[1].lower(), (match[2] or "<view>").lower(), writer(path))
        for path, text in sources()
        for match in WRITE.finditer(re.sub(r"--.*", "", text))
        if "migrations" not in path.parts
    }


def test_every_table_is_written_by_the_package_that_owns_its_schema():
    strangers = sorted(f"{package} writes {schema}.{table}" for schema, table, package in writes() if package != OWNERS[schema])
    assert strangers == []


def test_rows_are_copied_in_by_the_package_warehouse_alone():
    callers = {writer(path) for path in sorted((ROOT / "millwright").rglob("*.py")) if "copy_in" in path.read_text("utf-8")}
    assert callers == {"warehouse"}


def test_the_scan_sees_the_writes_that_must_be_there():
    seen = {(schema, table) for schema, table, _ in writes()}
    assert {
        ("landing", "batches"),
        ("landing", "quarantine"),
        ("warehouse", "changes"),
        ("warehouse", "<view>"),  # the rows of the three relations, whose names are put in
        ("features", "state"),
        ("catalog", "feature_views"),
        ("online", "publications"),
        ("serving", "keys"),
        ("serving", "predictions"),
        ("catalog", "models"),
    } <= seen
