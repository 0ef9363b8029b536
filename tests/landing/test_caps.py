"""Whatever a file is like, what is kept and told of it is bounded by settings."""

from __future__ import annotations

from tests.landing.conftest import HEADER, Plant, counts


def test_a_preview_is_short_however_large_the_cells_are(plant: Plant) -> None:
    names = ",".join(f"c{number}" for number in range(200))
    cells = ",".join(["x" * 5_000] * 200)
    lines = [f"2026-03-01T00:{minute:02}:00Z,m,press,{cells}" for minute in range(12)]
    receipt = plant.land("\n".join([f"{HEADER}{names}", *lines, ""]))
    assert counts(receipt) == (12, 12, 0, 0, 0)
    assert [len(row) for row in receipt.preview] == [50] * 10
    assert max(len(str(value)) for row in receipt.preview for value in row.values()) == 201
    assert len(str(receipt.preview)) < 120_000


def test_no_cell_is_shown_when_no_row_is(plant: Plant) -> None:
    plant.settings = plant.settings.model_copy(update={"preview_rows": 0})
    receipt = plant.land(f"{HEADER}temperature,note\n2026-03-01T00:00:00Z,m,press,1,confidential\n")
    assert (counts(receipt), receipt.preview) == ((1, 1, 0, 0, 0), [])
    assert "confidential" not in receipt.model_dump_json()


def test_errors_are_counted_whole_and_kept_in_part(plant: Plant) -> None:
    plant.settings = plant.settings.model_copy(update={"kept_error_kinds": 3, "kept_errors_per_row": 2})
    bad = "2026-03-01T00:00:00Z,m,press,a,b,c,d\n"
    receipt = plant.land(f"{HEADER}temperature,vibration,cycles,running\n{bad}{bad}")
    assert counts(receipt) == (2, 0, 0, 0, 2)
    assert [(error.count, error.first_position) for error in receipt.errors] == [(2, 2)] * 3
    for _, _, codes in plant.quarantine(receipt.batch_id):
        assert codes[2:] == [":more_errors"]
    ((message,),) = plant.rows("select errors -> 2 ->> 'message' from landing.quarantine where position = 2")
    assert message == "and 2 more errors in this row"


def test_a_file_with_too_many_rows_is_refused_whole(plant: Plant) -> None:
    plant.settings = plant.settings.model_copy(update={"max_rows_per_file": 2})
    rows = [f"2026-03-01T00:{minute:02}:00Z,m,press,{minute}" for minute in range(3)]
    before = plant.state()
    refused = plant.land("\n".join([f"{HEADER}temperature", *rows, ""]))
    assert (refused.state, "more than 2 rows (setting max_rows_per_file)" in str(refused.error)) == ("refused", True)
    assert plant.state() == before
    assert plant.land("\n".join([f"{HEADER}temperature", *rows[:2], ""])).loaded == 2
