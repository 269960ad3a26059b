"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import rewarddiff

ROOT = Path(rewarddiff.__file__).parent
FILES = sorted(file for file in ROOT.rglob("*.py") if "\n    >>> " in file.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_examples(file: Path) -> None:
    name = ".".join(["rewarddiff", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(
        ".__init__"
    )
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
