"""docs/results.schema.json is what the dataclasses say now."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pydantic
import pytest
from packaging.version import Version

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.skipif(
    Version(pydantic.VERSION) < Version("2.14"),
    reason="pydantic wrote no descriptions of these before",
)
def test_the_schema_is_up_to_date() -> None:
    text = runpy.run_path(str(DOCS / "results_schema.py"))["text"]
    written = (DOCS / "results.schema.json").read_text()
    assert written == text(), "write it again: python docs/results_schema.py"


def test_unknown_figures_may_be_null_and_no_key_may_be_added() -> None:
    schema = json.loads((DOCS / "results.schema.json").read_text())
    interval = schema["$defs"]["Interval"]
    assert interval["properties"]["low"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert interval["additionalProperties"] is False
    assert interval["required"] == ["value", "low", "high", "n"]
    assert "schema" in schema["properties"]
