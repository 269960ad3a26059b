"""docs/formats.md: every format has its section, and its three lines are read in that format."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.data import Ledger, read
from rewarddiff.data.formats import FORMATS, detect

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
SECTIONS: dict[str, str] = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##)", PAGE, re.M | re.S))
EXAMPLES = {
    name: re.findall(r"```jsonl\n(.*?)```", text, re.S)[0] for name, text in SECTIONS.items()
}
BY_NAME_ONLY = {"pku-saferlhf-safer", "pku-saferlhf-both"}
"""Formats of the same files as another, which only their names ask for."""


def test_every_format_has_a_section() -> None:
    assert SECTIONS.keys() | BY_NAME_ONLY == {form.name for form in FORMATS}
    assert all(f"`--format {name}`" in PAGE for name in BY_NAME_ONLY)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_three_lines_of_a_format_are_read_in_it(name: str, tmp_path: Path) -> None:
    lines = EXAMPLES[name].splitlines()
    assert len(lines) == 3
    for line in lines:
        form = detect(json.loads(line))
        assert form is not None
        assert form.name == name
    arguments: list[dict[str, Any]] = [
        {"id": id, "title": "T", "stance": "yes", "text": id} for id in "123"
    ]
    (tmp_path / "arguments.jsonl").write_text("".join(json.dumps(a) + "\n" for a in arguments))
    path = tmp_path / "pairs.jsonl"
    path.write_text(EXAMPLES[name], "utf-8")
    ledger = Ledger()
    assert list(read(path, ledger=ledger))
    assert (ledger.kept, ledger.dropped) == (3, 0)
