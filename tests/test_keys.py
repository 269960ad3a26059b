"""docs/keys.md is what the dataclasses say now, and says something of the keys that matter."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_up_to_date() -> None:
    text = runpy.run_path(str(DOCS / "keys.py"))["text"]
    assert (DOCS / "keys.md").read_text() == text(), "write it again: python docs/keys.py"


@pytest.mark.parametrize(
    "row",
    [
        "| `max_drop` | `0.05` | largest share of rows that may be dropped before the run is refused. |",
        "| `head_lr` | none | of a new head, where there is one (None: as the body). |",
        '| `negative` | `"clip"` | One of `clip`, `abs`, `flip`, `drop`, `floor`, `signed`. what to do where',
        "## `policies.NAME.objective=mmpo`",
        "## `scorers.NAME.loss=batch-margin`",
        "# Of `rewarddiff lab`",
    ],
)
def test_rows_by_hand(row: str) -> None:
    assert row in (DOCS / "keys.md").read_text()
