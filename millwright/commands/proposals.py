"""How proposals are shown: of a mapping in a receipt, of a whole dataset. Does not: making or accepting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from millwright.landing.batches import Proposal, Question
    from millwright.registry.proposals import Proposed


def mapping_text(proposal: Proposal) -> Text:
    """What the columns may mean, what must be said, and the command line."""
    lines = ["Proposed:", *(f"  {reason}" for reason in proposal.reasons), *_asked(proposal.questions)]
    what = "Add the answers to" if proposal.questions else "If this is right, run"
    lines += [f"{what}:", f"  {proposal.command}", "--accept at its end also saves it with the dataset."]
    return Text("\n".join(lines))


def proposed_text(proposed: Proposed) -> Text:
    """Which files to look at, what must be said, and how to accept."""
    lines = [
        f"There is no dataset {proposed.dataset}. One is proposed; nothing was received. Look at these files, and change them:",
        *(f"  {proposed.folder}/{file}" for file in proposed.files),
        *_asked(proposed.questions),
        "Then this puts them in place, applies them and lands the file:",
        f"  {proposed.command}",
    ]
    return Text("\n".join(lines))


def _asked(questions: Sequence[Question]) -> list[str]:
    lines = ["Only you know this:"] if questions else []
    for question in questions:
        lines += [f"  {question.text}", *(f"      {answer}" for answer in question.answers)]
    return lines
