"""docs/papers.md names functions and tests that exist; its equations are those that training runs."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rewarddiff
from rewarddiff import losses

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "papers.md").read_text()
ROOMS = "|".join(module.name for module in pkgutil.iter_modules(rewarddiff.__path__))
FUNCTIONS = sorted(set(re.findall(rf"`((?:{ROOMS})\.[\w.]+)`", TEXT)))
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))
TRAINING = ("policies", "scorers", "loop")


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


# --- what is certified is what runs ---------------------------------------------------------------


def equations() -> Iterator[str]:
    """The public functions and classes of `rewarddiff.losses`, as the table names them."""
    for room in losses.__all__:
        module = importlib.import_module(f"rewarddiff.losses.{room}")
        for name, value in vars(module).items():
            is_ours = inspect.isfunction(value) or inspect.isclass(value)
            if is_ours and value.__module__ == module.__name__ and not name.startswith("_"):
                yield f"losses.{room}.{name}"


def called_in(source: str, names: dict[str, Any]) -> Iterator[Callable[..., Any]]:
    """What a piece of code calls: by a name, as `module.name`, or as a method of a class."""
    for node in ast.walk(ast.parse(source)):
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Name) and function.id in names:
            yield names[function.id]
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            holder = names.get(function.value.id)
            if isinstance(holder, ModuleType):
                yield getattr(holder, function.attr)
            elif isinstance(holder, type):
                yield holder


def training_calls() -> set[Callable[..., Any]]:
    """Everything of `losses` that training calls, by itself or through what it calls."""
    reached: set[Callable[..., Any]] = set()
    found: list[Callable[..., Any]] = []
    for room in TRAINING:
        package = importlib.import_module(f"rewarddiff.{room}")
        for info in pkgutil.walk_packages(package.__path__, f"rewarddiff.{room}."):
            module = importlib.import_module(info.name)
            found += called_in(inspect.getsource(module), vars(module))
    while found:
        function = found.pop()
        module = inspect.getmodule(function)
        if module is None or not module.__name__.startswith("rewarddiff.losses"):
            continue
        if function not in reached:
            reached.add(function)
            found += called_in(inspect.getsource(function), vars(module))
    return reached


@pytest.fixture(scope="module")
def reached() -> set[Callable[..., Any]]:
    return training_calls()


@pytest.mark.parametrize("name", sorted(equations()))
def test_every_equation_is_certified_and_trained_with(
    name: str, reached: set[Callable[..., Any]]
) -> None:
    assert name in FUNCTIONS, "not in docs/papers.md"
    assert pkgutil.resolve_name(f"rewarddiff.{name}") in reached, "training does not call it"
