"""A stored baseline: what is read is what was written, and what is none is refused at its row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.errors import UserError
from rewarddiff.records import Message
from rewarddiff.rewards import contrastive
from rewarddiff.rewards.stored import StoredBaseline, StoredResponses, read_baseline

TURNS = (Message("user", "Why?"),)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": "2 + 2?", "responses": ["4", "5", "4"], "scores": [1.5, None, 0.1]},
        {"prompt": [TURNS[0].turn()], "responses": ["So."], "scores": [-2], "mean": 7},
    ]
    stored = read_baseline(written(tmp_path / "b.jsonl", rows))
    assert list(stored.by_prompt) == ["2 + 2?", TURNS]
    assert stored.of("2 + 2?").responses == ("4", "5", "4")
    assert stored.sizes == (1, 3)
    # 0.1 is the double that was written; a prompt with fewer responses ends with NaN.
    np.testing.assert_array_equal(
        stored.scores([TURNS, "2 + 2?"]), [[-2.0, math.nan, math.nan], [1.5, math.nan, 0.1]]
    )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_scores_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float]
) -> None:
    path = tmp_path_factory.mktemp("b") / "b.jsonl"
    row = {"prompt": "p", "responses": ["r"] * len(scores), "scores": scores}
    assert read_baseline(written(path, [row])).scores(["p"]).tolist() == [scores]


def test_a_padded_row_has_the_mean_of_its_own_scores(tmp_path: Path) -> None:
    """k is 3 for one prompt and 1 for the other: 5 − (1 + 2 + 6)/3 = 2 and 5 − 4 = 1."""
    rows = [
        {"prompt": "a", "responses": ["x", "y", "z"], "scores": [1, 2, 6]},
        {"prompt": "b", "responses": ["x"], "scores": [4]},
    ]
    stored = read_baseline(written(tmp_path / "b.jsonl", rows))
    rewards = contrastive([[5.0], [5.0]], stored.scores(["a", "b"]))
    assert rewards.tolist() == [[2.0], [1.0]]
    with pytest.raises(UserError, match="1 response to one prompt and 3 to another"):
        stored.require_equal_sizes()


def test_rows_of_one_prompt_are_put_together(tmp_path: Path) -> None:
    """Scores stay only where every row has them: of a part, places would not be known."""
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "responses": ["x"], "scores": [1]},
        {"prompt": "b", "responses": ["x"], "scores": [1]},
        {"prompt": "a", "responses": ["x", "y"], "scores": [2, 3]},
        {"prompt": "b", "responses": ["y"]},
    ]
    stored = read_baseline(written(tmp_path / "b.jsonl", rows))
    assert stored.of("a").responses == ("x", "x", "y")
    assert stored.scores(["a"]).tolist() == [[1, 2, 3]]
    assert stored.of("b").scores is None
    with pytest.raises(UserError, match="holds responses without scores"):
        stored.scores(["b"])


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ("[1]", ":1: scores are not one finite number, or null, for each of 2 responses"),
        ("[1, NaN]", ":1: scores are not"),
        ("[1, Infinity]", ":1: scores are not"),
        ('[1, "2"]', ":1: scores are not"),
        ("[1, true]", ":1: scores are not"),
        ("3", ":1: scores are not"),
    ],
)
def test_scores_that_are_none_are_refused(tmp_path: Path, scores: str, line: str) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(f'{{"prompt": "p", "responses": ["x", "y"], "scores": {scores}}}\n')
    with pytest.raises(UserError) as caught:
        read_baseline(path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_of_two_scorers_are_refused(tmp_path: Path) -> None:
    rows = []
    for prompt, scorer in (("a", "f1"), ("b", "f1"), ("c", "f2")):
        rows.append({"prompt": prompt, "responses": ["x"], "scores": [1], "scorer": scorer})
    assert read_baseline(written(tmp_path / "one.jsonl", rows[:2])).scorer == "f1"
    with pytest.raises(UserError, match=r"two\.jsonl:3: was scored by another scorer"):
        read_baseline(written(tmp_path / "two.jsonl", rows))


def test_a_prompt_that_is_not_there_is_named_with_what_mends_it() -> None:
    stored = StoredBaseline("b.jsonl", {"Why?": StoredResponses(("x",))})
    with pytest.raises(UserError, match=r"no responses to the prompt 'How\?'; draw them"):
        stored.of("How?")
    with pytest.raises(UserError, match=r"'Why\?' as a text, and it is asked for as turns"):
        stored.of(TURNS)
    as_turns = StoredBaseline("b.jsonl", {TURNS: StoredResponses(("x",))})
    with pytest.raises(UserError, match=r"'Why\?' as turns, and it is asked for as a text"):
        as_turns.of("Why?")


def test_equal_contents_have_equal_hashes() -> None:
    def content(prompt: str, responses: tuple[str, ...], scores: list[float] | None) -> str:
        array = None if scores is None else np.array(scores)
        return StoredBaseline("f", {prompt: StoredResponses(responses, array)}).content

    one = content("p", ("x", "y"), [1.0, 2.0])
    assert one == content("p", ("x", "y"), [1.0, 2.0])
    others = {
        content("q", ("x", "y"), [1.0, 2.0]),
        content("p", ("xy", ""), [1.0, 2.0]),
        content("p", ("x", "y"), [1.0, 3.0]),
        content("p", ("x", "y"), None),
    }
    assert len(others) == 4
    assert one not in others
