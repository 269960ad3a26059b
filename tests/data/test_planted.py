"""Defects of which the number is known, in a file of three thousand rows: each is counted exactly."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rewarddiff.check import check
from rewarddiff.data import Ledger, Reason
from rewarddiff.data.files.rows import DEEPEST, MAX_LINE
from rewarddiff.pipeline.data import prepare
from rewarddiff.pipeline.recipe import DataConfig, Recipe

ROWS = 3000


def clean(n: int) -> dict[str, Any]:
    """A row without a defect, like no other one."""
    return {
        "prompt": f"Question {n}?",
        "chosen": f"A good answer {n}.",
        "rejected": f"A bad answer {n}.",
        "margin": 1 + n % 4,
    }


class Planted(NamedTuple):
    """A defect: what it is counted as, with which words, and the line that a clean row becomes."""

    reason: Reason
    detail: str
    count: int
    line: Any


def changed(**values: Any) -> Any:
    """The row with other values in some of its columns."""
    return lambda row: json.dumps(row | values)


def without(column: str) -> Any:
    return lambda row: json.dumps({name: value for name, value in row.items() if name != column})


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED = turn("user", "Why?")
SAID = turn("assistant", "So.")
CALL = SAID | {"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}

DEFECTS = {
    "null response": Planted(Reason.MISSING_FIELD, "no chosen", 5, changed(chosen=None)),
    "missing column": Planted(Reason.MISSING_FIELD, "no rejected", 4, without("rejected")),
    "response of another type": Planted(
        Reason.MISSING_FIELD, "chosen is int, expected text", 3, changed(chosen=5)
    ),
    "empty prompt": Planted(Reason.MISSING_FIELD, "the prompt is empty", 2, changed(prompt=" \n")),
    "strength of another type": Planted(
        Reason.MISSING_FIELD, "margin is not a number", 2, changed(margin="much")
    ),
    "empty response": Planted(Reason.EMPTY_RESPONSE, "1 empty", 6, changed(rejected="")),
    "blank response": Planted(Reason.EMPTY_RESPONSE, "1 empty", 3, changed(chosen=" \t\n")),
    "identical responses": Planted(
        Reason.IDENTICAL_RESPONSES, "", 9, changed(chosen="Same.", rejected=" Same.\n")
    ),
    "graded the other way": Planted(
        Reason.CONTRADICTORY, "rejected is graded 2 above chosen", 2, changed(margin=-2)
    ),
    "infinite strength": Planted(
        Reason.NON_FINITE_SCORE, "margin is inf", 3, changed(margin=float("inf"))
    ),
    "strength that is no number": Planted(
        Reason.NON_FINITE_SCORE, "margin is nan", 2, changed(margin=float("nan"))
    ),
    "strength beyond all grades": Planted(
        Reason.NON_FINITE_SCORE, "margin is 1e+300, beyond", 1, changed(margin=1e300)
    ),
    "turns that end with the user": Planted(
        Reason.NO_ANSWER,
        "chosen ends with a turn of user",
        4,
        changed(chosen=[ASKED], rejected=[SAID]),
    ),
    "turns behind the response": Planted(
        Reason.PROMPTS_DIFFER,
        "chosen goes on for 3 turns",
        3,
        changed(prompt=[ASKED], chosen=[SAID, ASKED, SAID], rejected=[turn("assistant", "No.")]),
    ),
    "call of a tool": Planted(
        Reason.TOOLS_LEFT_OUT,
        "chosen ends with a call",
        2,
        changed(prompt=[ASKED], chosen=[CALL], rejected=[SAID]),
    ),
    "no JSON": Planted(Reason.UNREADABLE, "not valid JSON", 5, lambda row: json.dumps(row)[:-9]),
    "no UTF-8": Planted(
        Reason.UNREADABLE, "not valid UTF-8", 4, lambda row: json.dumps(row).replace("?", "\udcff")
    ),
    "half a character": Planted(
        Reason.UNREADABLE, "not valid UTF-8", 1, changed(chosen="half \ud83d")
    ),
    "key that stands twice": Planted(
        Reason.UNREADABLE,
        "key prompt stands twice",
        2,
        lambda row: '{"prompt": "", ' + json.dumps(row)[1:],
    ),
    "no object": Planted(Reason.UNREADABLE, "a JSON list", 2, lambda row: json.dumps([row])),
    "too deep": Planted(
        Reason.UNREADABLE,
        "within each other",
        1,
        lambda row: json.dumps(row)[:-1] + f', "x": {"[" * DEEPEST}{"]" * DEEPEST}}}',
    ),
    "too long": Planted(
        Reason.UNREADABLE, "longer than any row", 1, lambda row: changed(more="x" * MAX_LINE)(row)
    ),
}
"""Defects that stand in one line alone."""

REPEATED, TURNED = 8, 7
"""Rows that stand again, and rows that stand again with the responses in each other's place."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """The file, and which defect stands in which line."""
    lines = [json.dumps(clean(n)) for n in range(ROWS)]
    # The first rows stay as they are: those that stand again are copies of them.
    places = random.Random(0).sample(range(100, ROWS), ROWS // 2)
    planted: dict[int, str] = {}
    for name, defect in DEFECTS.items():
        for _ in range(defect.count):
            place = places.pop()
            lines[place] = defect.line(clean(place))
            planted[place + 1] = name
    for n in range(REPEATED):
        place = places.pop()
        lines[place] = json.dumps(clean(n) | {"margin": 3})
        planted[place + 1] = "repeated"
    for n in range(REPEATED, REPEATED + TURNED):
        place = places.pop()
        row = clean(n)
        lines[place] = json.dumps(row | {"chosen": row["rejected"], "rejected": row["chosen"]})
        planted[place + 1] = "turned"
    path = tmp_path_factory.mktemp("planted") / "rows.jsonl"
    text = "".join(line + "\n" for line in lines)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path, planted


def expected() -> Counter[str]:
    counts = Counter({str(Reason.DUPLICATE): REPEATED, str(Reason.CONTRADICTORY): TURNED})
    for defect in DEFECTS.values():
        counts[str(defect.reason)] += defect.count
    return counts


def test_there_are_defects_enough() -> None:
    assert len(DEFECTS) + 2 >= 12
    assert all(count <= 20 for count in expected().values())  # so that a ledger shows every place


def test_a_check_counts_each_exactly(
    file: tuple[Path, dict[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, planted = file
    check(str(path))
    printed = capsys.readouterr().out
    assert f"{ROWS} rows: {ROWS - len(planted)} kept, {len(planted)} dropped" in printed
    counts = re.findall(r"^  dropped +(\d+)  (\w+)", printed, re.M)
    assert {reason: int(count) for count, reason in counts} == expected()
    assert "changed" not in printed


def test_a_run_counts_each_exactly_and_at_its_line(
    file: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    path, planted = file
    run = prepare(Recipe("planted", data=DataConfig(path=str(path))), tmp_path / "run")
    ledger = Ledger.from_dict(run.prepared["ledger"])
    assert (ledger.kept, ledger.dropped) == (ROWS - len(planted), len(planted))
    dropped = run.prepared["ledger"]["dropped"]
    assert {reason: tally["count"] for reason, tally in dropped.items()} == expected()
    told: dict[int, tuple[str, str]] = {}
    for reason, tally in dropped.items():
        for example in tally["examples"]:
            place = int(example["source"].removeprefix("rows.jsonl:"))
            told[place] = (reason, example["detail"])
    assert told.keys() == planted.keys()
    for place, name in planted.items():
        reason, detail = told[place]
        if name in DEFECTS:
            assert reason == DEFECTS[name].reason, name
            assert DEFECTS[name].detail in detail, name
        else:
            assert reason == {"repeated": "duplicate", "turned": "contradictory"}[name]
    assert sum(len(part) for part in run.splits.values()) == ROWS - len(planted)


def test_rows_that_are_too_long_for_a_model_are_counted(
    policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token is a byte, and the model reads 1,024: of 50 rows 3 have a prompt of 1,500, 4 a chosen
    response of 300, and 2 responses that are alike in their first 200 bytes."""
    rows = [clean(n) for n in range(50)]
    for n in range(3):
        rows[n]["prompt"] = f"{n} " + "x" * 1500
    for n in range(10, 14):
        rows[n]["chosen"] = "x" * 300
    for n in range(20, 22):
        rows[n]["chosen"], rows[n]["rejected"] = "x" * 300, "x" * 301
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check(str(path), model=str(policy_folder), max_response=200, max_drop=0.2)
    printed = capsys.readouterr().out.partition("in tokens of")[2]
    counts = {reason: int(n) for n, reason in re.findall(r"^  \w+ +(\d+)  (\w+)", printed, re.M)}
    assert "50 rows: 45 kept, 5 dropped" in printed
    assert counts["prompt_too_long"] == 3
    assert counts["identical_after_truncation"] == 2
    assert counts["response_cut"] >= 4
