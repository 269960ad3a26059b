"""Recipes of any content: a recipe that reads back equal, or one line that names the key."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from examples_many import many
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.config import dump_yaml, load_recipe, read_recipe
from rewarddiff.config.written import parse
from rewarddiff.errors import UserError
from rewarddiff.pipeline.recipe import Recipe

FOLDER = Path(__file__).parents[1] / "recipes"
OURS = {path.stem: read_recipe(path) for path in sorted(FOLDER.glob("*.yaml"))}

Place = tuple[str | int, ...]


def places(value: Any, around: Place = ()) -> list[Place]:
    """Return every place in a recipe, from the outside in."""
    found: list[Place] = [around] if around else []
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        found += places(inner, (*around, key))
    return found


PLACES = [(name, place) for name, content in OURS.items() for place in places(content)]
KEYS = sorted({str(part) for _, place in PLACES for part in place})

letters = st.characters(exclude_categories=["Cs"])
words = st.sampled_from(KEYS) | st.text(letters, max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | words
    | st.sampled_from(
        ["1e-6", "null", "~", "", "*", "<<", "-1", "\0", "\ud800", 10**400, -0.0, "a" * 5000]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)


def recipe_of(content: Any, *overrides: str) -> Recipe | str:
    """Return the recipe, which reads back equal, or the line that refuses it."""
    message = ""
    try:
        recipe = load_recipe(content, list(overrides), Recipe)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    if message:
        return message
    assert load_recipe(parse(dump_yaml(recipe), "written"), [], Recipe) == recipe
    with suppress(UserError):
        recipe.check()
    return recipe


@pytest.mark.parametrize("name", OURS)
def test_ours_read_back_equal(name: str) -> None:
    assert isinstance(recipe_of(OURS[name]), Recipe)


@given(where=st.sampled_from(PLACES), value=values)
@many
def test_a_strange_value_is_taken_or_refused_by_its_key(
    where: tuple[str, Place], value: Any
) -> None:
    name, place = where
    content = copy.deepcopy(OURS[name])
    node: Any = content
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    told = recipe_of(content)
    if isinstance(told, str):
        assert any(str(part) in told for part in place), told


@given(value=st.dictionaries(words, values, max_size=5))
@many
def test_any_mapping_is_a_recipe_or_one_line(value: dict[str, Any]) -> None:
    recipe_of({"name": "x", **value})


texts = st.text(st.sampled_from(list("[]{}:,-?*&!|>'\"#%@`\n\t .~<0e1aé\0\u2028")), max_size=30)
yaml = texts | st.sampled_from(
    [
        *(
            "!!bool x",
            "!!int ''",
            "!!float ''",
            "!!timestamp x",
            "!!map [a]",
            "!!set {a}",
            "!!binary é",
        ),
        *(
            "? [a]\n: b",
            "{{a: 1}: 2}",
            "&a [*a]",
            "&a {<<: *a}",
            "!!python/name:os.system",
            "1" * 5000,
        ),
        *(
            "[" * 3000,
            "{a: " * 3000,
            "- " * 3000,
            "!!timestamp 2020-01-01: x",
            "%YAML 9.9\n--- a",
            "a: b: c",
        ),
    ]
)
keys = st.lists(words | st.sampled_from(["*", "0", "²", "9" * 5000, ""]), min_size=1, max_size=5)


@given(
    name=st.sampled_from(sorted(OURS)),
    key=keys.map(".".join),
    sign=st.sampled_from(["=", "=", ""]),
    value=yaml,
)
@many
def test_any_override_is_taken_or_refused(name: str, key: str, sign: str, value: str) -> None:
    told = recipe_of(OURS[name], f"{key}{sign}{value}")
    if isinstance(told, str):
        assert told.startswith(("override", "recipe"))


@given(where=st.sampled_from(PLACES), value=yaml)
@many
def test_an_override_of_a_key_is_taken_or_refused(where: tuple[str, Place], value: str) -> None:
    name, place = where
    told = recipe_of(OURS[name], f"{'.'.join(map(str, place))}={value}")
    if isinstance(told, str):
        assert str(place[-1]) in told


@given(text=yaml | st.lists(yaml, max_size=4).map("\n".join))
@many
def test_any_text_is_yaml_or_one_line(text: str) -> None:
    content: Any = None
    message = ""
    try:
        content = parse(text, "recipe.yaml")
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    assert not message or message.startswith("recipe.yaml")
    if isinstance(content, dict):
        recipe_of(content)
