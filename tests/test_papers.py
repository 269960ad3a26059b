"""docs/papers.md names functions and tests that exist."""

from __future__ import annotations

import ast
import pkgutil
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "papers.md").read_text()
MODULES = "coefficients|encoding|evaluation|forward|lab|losses|sampling|scorers|training|trees"
FUNCTIONS = sorted(set(re.findall(rf"`((?:{MODULES})\.[\w.]+)`", TEXT)))
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))


def test_the_patterns_find_what_is_named() -> None:
    assert "losses.pairwise.dpo" in FUNCTIONS
    assert ("losses/test_pairwise.py", "test_value_by_hand") in NAMED
    assert TEXT.count("::") == len(re.findall(r"`[\w/]+\.py::\w+`", TEXT))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_exist(name: str) -> None:
    assert callable(pkgutil.resolve_name(f"rewarddiff.{name}"))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_tests_exist(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
