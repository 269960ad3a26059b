"""Responses labelled by themselves: read, counted, merged, kept and told apart."""

import csv
import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewarddiff.check import check
from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.clean import clean
from rewarddiff.data.formats import RowError, detect
from rewarddiff.data.ledger import Reason
from rewarddiff.data.merge import merge
from rewarddiff.data.thinning import thin
from rewarddiff.errors import UserError
from rewarddiff.pipeline.data import content
from rewarddiff.records import Comparison, Group, Message


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(label: Any, completion: Any = " blue.", prompt: Any = "The sky is") -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "label": label}


def turns(*contents: str) -> list[dict[str, str]]:
    return [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)
    ]


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("yes", "no"),
    [(True, False), (1, 0), (1.0, 0.0), ("true", "false"), ("True", "False"), ("1", "0")],
)
def test_labels_are_read_however_a_file_writes_them(
    tmp_path: Path, suffix: str, yes: Any, no: Any
) -> None:
    path = written(tmp_path / f"rows{suffix}", [row(yes), row(no, " green.")])
    ledger = Ledger()
    groups = list(read(path, ledger=ledger))
    assert [(g.prompt, g.responses, g.labels) for g in groups] == [
        ("The sky is", (" blue.",), (True,)),
        ("The sky is", (" green.",), (False,)),
    ]
    assert (ledger.kept, ledger.dropped) == (2, 0)
    # Nothing is known of their order, and nothing needs to be.
    assert ledger.to_dict()["changed"] == {}


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        (turns("Hi", "Hello", "Why?"), turns("Hi", "Good")[1:]),
        (turns("Hi", "Hello", "Why?"), turns("Hi", "Hello", "Why?", "Good")),
        (turns("Hi", "Hello", "Why?"), "Good"),
    ],
    ids=["one turn", "prompt repeated", "text"],
)
def test_conversations(prompt: Any, completion: Any) -> None:
    values = row(True, completion, prompt)
    form = detect(values)
    assert form is not None
    assert form.name == "trl-unpaired"
    asked = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
    assert form.converter(None)(values) == Group("", asked, ("Good",), labels=(True,))


def test_a_text_prompt_with_a_turn_as_answer() -> None:
    values = row(False, turns("", "Good")[1:], "Why?")
    form = detect(values)
    assert form is not None
    assert form.converter(None)(values) == Group(
        "", (Message("user", "Why?"),), ("Good",), labels=(False,)
    )


def test_pairs_stay_pairs_beside_further_columns() -> None:
    form = detect({"prompt": "x", "chosen": "a", "rejected": "b", "completion": "c", "label": True})
    assert form is not None
    assert form.name == "trl"


@pytest.mark.parametrize(
    ("values", "reason", "detail"),
    [
        ({"prompt": "x", "completion": "a"}, "missing_field", "no label"),
        (row(None), "missing_field", "no label"),
        (row(""), "missing_field", "no label"),
        (row("good"), "missing_field", "label is good, expected true or false"),
        (row(2), "missing_field", "label is 2, expected true or false"),
        (row(-1), "missing_field", "label is -1, expected true or false"),
        (row(0.5), "missing_field", "label is 0.5, expected true or false"),
        (row(float("nan")), "missing_field", "label is nan, expected true or false"),
        (row([True]), "missing_field", "label is [True], expected true or false"),
        (row(True, None), "missing_field", "no completion"),
        (row(True, 5), "missing_field", "completion is int, expected text"),
        (row(True, " \n"), "empty_response", "1 empty"),
        (row(True, "a", " "), "missing_field", "the prompt is empty"),
        (row(True, [], turns("Hi")), "empty_response", "completion holds no turn after the prompt"),
        (
            row(True, turns("a", "b", "c"), turns("Hi")),
            "prompts_differ",
            "completion goes on for 3 turns",
        ),
        (
            row(True, turns("Bye"), turns("Hi")),
            "no_answer",
            "completion ends with a turn of user, expected assistant",
        ),
    ],
)
def test_bad_rows_are_counted_with_file_and_row(
    tmp_path: Path, values: dict[str, Any], reason: str, detail: str
) -> None:
    path = written(tmp_path / "rows.jsonl", [row(True), row(False, " green."), values])
    ledger = Ledger()
    assert len(list(read(path, ledger=ledger))) == 2
    assert (ledger.kept, ledger.dropped, ledger.count(reason)) == (2, 1, 1)
    (example,) = ledger.to_dict()["dropped"][reason]["examples"]
    assert example["source"] == "rows.jsonl:3"
    assert example["detail"].startswith(detail)


def test_repeats_and_contradictions(tmp_path: Path) -> None:
    rows = [
        row(True),
        row(True, " blue. "),
        row(False),
        row(False, " green."),
        row(True, " blue.", "The sea is"),
    ]
    ledger = Ledger()
    groups = list(read(written(tmp_path / "rows.jsonl", rows), ledger=ledger))
    assert [g.source for g in groups] == ["rows.jsonl:1", "rows.jsonl:4", "rows.jsonl:5"]
    dropped = ledger.to_dict()["dropped"]
    assert dropped["duplicate"]["examples"][0]["source"] == "rows.jsonl:2"
    assert dropped["contradictory"]["examples"][0]["source"] == "rows.jsonl:3"
    assert dropped["contradictory"]["examples"][0]["detail"].endswith("another label")
    assert len({g.id for g in groups}) == 3


def test_labels_of_no_use_stop_with_file_and_row(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [row("good", f"{i}") for i in range(3)])
    with pytest.raises(
        UserError,
        match=r"rows\.jsonl:1: 3 of 3 rows dropped, .* \(label is good, expected true or f",
    ):
        load_groups(path)
    path = written(tmp_path / "rows.jsonl", [{"prompt": "x", "response": "a", "label": True}])
    with pytest.raises(
        UserError,
        match=r"nearest is trl-unpaired \(prompt, completion, label\): missing completion; rename resp",
    ):
        load_groups(path)


def test_the_cache_keeps_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", [row("true"), row("false", " green.")])
    for _ in range(2):
        assert [g.labels for g in load_groups(path, cache=tmp_path / "cache")] == [
            (True,),
            (False,),
        ]


# -- groups ------------------------------------------------------------------------------------------------------------


def test_labels_that_do_not_fit_their_responses_are_refused() -> None:
    with pytest.raises(ValueError, match="2 responses but 1 labels"):
        Group("g", "p", ("a", "b"), labels=(True,))
    with pytest.raises(ValueError, match="labels are True, False or None"):
        Group("g", "p", ("a",), labels=(1,))  # type: ignore[arg-type]
    assert list(Group("g", "p", ("a", "b", "c"), labels=(None, False, True)).known_labels()) == [
        (1, False),
        (2, True),
    ]
    assert list(Group("g", "p", ("a", "b")).known_labels()) == []


def test_a_single_response_goes_on_and_is_noted_where_it_has_no_label() -> None:
    ledger = Ledger()
    labelled = Group("g", "p", ("a",), labels=(False,))
    assert clean(labelled, ledger) == labelled
    assert ledger.to_dict()["changed"] == {}
    for labels in ((), (None,)):
        assert clean(Group("g", "p", ("a",), labels=labels), ledger).responses == ("a",)
    assert ledger.count(Reason.SINGLE_RESPONSE) == 2
    for responses, reason in (((), Reason.SINGLE_RESPONSE), ((" ",), Reason.EMPTY_RESPONSE)):
        with pytest.raises(RowError) as error:
            clean(Group("g", "p", responses), ledger)
        assert error.value.reason == reason


def test_what_is_left_after_cleaning_is_labelled_or_can_be_compared() -> None:
    ledger = Ledger()
    # the empty one goes; what is left of it is labelled
    assert clean(Group("g", "p", ("", "b"), labels=(None, True)), ledger).responses == ("b",)
    with pytest.raises(RowError) as error:  # the label was of the empty one
        clean(Group("g", "p", ("", "b"), labels=(True, None)), ledger)
    assert error.value.reason == Reason.EMPTY_RESPONSE
    # two alike are one, with what is known of either
    assert clean(Group("g", "p", ("b", "b "), labels=(None, True)), ledger).labels == (True,)
    with pytest.raises(RowError) as error:
        clean(Group("g", "p", ("b", "b ")), ledger)
    assert error.value.reason == Reason.IDENTICAL_RESPONSES
    # labels may be all that is known of several, or nothing may be
    assert Reason.NO_ORDER not in ledger.to_dict()["changed"]
    clean(Group("g", "p", ("a", "b"), labels=(True, None)), ledger)
    assert ledger.count(Reason.NO_ORDER) == 0
    clean(Group("g", "p", ("a", "", "b"), labels=(None, True, None)), ledger)
    assert ledger.count(Reason.NO_ORDER) == 1


def test_merging_keeps_the_first_label_and_tells_of_the_others() -> None:
    notes: list[tuple[Reason, str]] = []
    groups = [
        Group("1", "p", ("a", "b"), labels=(True, None)),
        Group("2", "p", ("b",), labels=(False,)),
        Group("3", "p", ("c",)),
        Group("4", "p", ("a ",), labels=(True,)),
        Group("5", "p", ("b",), labels=(True,)),
    ]

    def note(reason: Reason, group: Group, detail: str) -> None:
        notes.append((reason, group.id))

    merged = merge(groups, note, note)
    assert (merged.responses, merged.labels) == (("a", "b", "c"), (True, False, None))
    assert notes == [(Reason.DUPLICATE, "4"), (Reason.CONTRADICTORY, "5")]
    assert merge(groups[2:3], note, note).labels == ()


def test_taking_responses_takes_their_labels() -> None:
    group = Group("g", "p", tuple("abcd"), labels=(True, None, False, None))
    assert group.take([2, 1]).labels == (False, None)
    assert Group("g", "p", tuple("abcd")).take([2, 1]).labels == ()


def test_thinning_comparisons_leaves_labelled_responses() -> None:
    compared = tuple(Comparison(i, i + 1) for i in range(5))
    group = Group(
        "g", "p", tuple("abcdef"), comparisons=compared, labels=(None, None, None, None, None, True)
    )
    for seed in range(10):
        kept = thin(group, 1, seed)
        assert len(kept.comparisons) == 1
        (c,) = kept.comparisons
        # It still says what it said.
        assert kept.responses[c.rejected] == chr(ord(kept.responses[c.chosen]) + 1)
        assert [kept.responses[i] for i, _ in kept.known_labels()] == ["f"]
    single = Group("g", "p", ("a",), labels=(True,))
    assert thin(single, 1) is single


def test_the_fingerprint_tells_labels_apart_and_is_the_old_one_without() -> None:
    yes, no = (Group("g", "p", ("a",), labels=(label,)) for label in (True, False))
    assert content([yes]) != content([no])
    # of unlabelled groups as it was before groups had labels: a hash of the hash of each group's
    # JSON
    plain = {"comparisons": [], "id": "g", "prompt": "p", "responses": ["a", "b"], "scores": None}
    text = json.dumps([plain | {"source": "", "topic": "t"}], sort_keys=True, separators=(",", ":"))
    inner = blake2b(text.encode(), digest_size=16).hexdigest()
    before = blake2b(inner.encode(), digest_size=16).hexdigest()
    assert content([Group("g", "p", ("a", "b"), source="f:1", topic="t")]) == before


def test_the_fingerprint_tells_tools_apart_and_is_the_old_one_without() -> None:
    asked = Message("user", "p")
    with_tools = Message.of("user", "p", {"tools": [{"name": "weather"}]})
    plain, tooled = (content([Group("g", (turn,), ("a", "b"))]) for turn in (asked, with_tools))
    assert plain != tooled
    # of turns as it was before they had further keys
    turn = {"content": "p", "role": "user"}
    fields = {
        "comparisons": [],
        "id": "g",
        "prompt": [turn],
        "responses": ["a", "b"],
        "scores": None,
        "source": "",
    }
    text = json.dumps([fields | {"topic": ""}], sort_keys=True, separators=(",", ":"))
    inner = blake2b(text.encode(), digest_size=16).hexdigest()
    assert plain == blake2b(inner.encode(), digest_size=16).hexdigest()


def test_a_column_of_system_prompts_leads_the_conversation() -> None:
    asked = (Message("system", "Be kind."), Message("user", "Why?"))
    for completion in ("Good", turns("", "Good")[1:]):
        values = row(True, completion, "Why?") | {"system": "Be kind."}
        form = detect(values)
        assert form is not None
        assert form.converter(None)(values) == Group("", asked, ("Good",), labels=(True,))


# -- check -------------------------------------------------------------------------------------------------------------


def test_check_counts_desirable_and_undesirable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(i >= 3, f"answer {i}", f"question {i}") for i in range(40)]
    check(str(written(tmp_path / "rows.jsonl", rows)))
    lines = {
        line[:8].strip(): line[8:].split()
        for line in capsys.readouterr().out.splitlines()
        if line[:1] != " "
    }
    assert lines["all"] == ["40", "40", "0", "0", "0", "-", "-", "-", "37", "3"]
    parts = [lines[name] for name in ("train", "dev", "test")]
    assert [sum(int(part[column]) for part in parts) for column in (-2, -1)] == [37, 3]


def test_check_does_not_speak_of_labels_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(str(written(tmp_path / "rows.jsonl", [{"prompt": "x", "chosen": "a", "rejected": "b"}])))
    assert "desirable" not in capsys.readouterr().out
