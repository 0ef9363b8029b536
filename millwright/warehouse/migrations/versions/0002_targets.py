"""Events and feature sets have rows of the shape of measurements; an undo leaves its time in the ledger."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    # The driver's own cursor: SQLAlchemy would take the file's % for placeholders.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
