"""Prompts without responses: policies learn from their own answers, what compares says why it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rewarddiff as rd
from rewarddiff.cli import main
from rewarddiff.data import Ledger, Reason
from rewarddiff.errors import UserError
from rewarddiff.pipeline import train_stage
from rewarddiff.pipeline.commands import run_recipe

SMALL = {"batch_size": 4, "max_steps": 2, "precision": "fp32"}
STEPS = ("max_steps=2", "batch_size=4", "precision=fp32")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {n}"}) + "\n" for n in range(30)))
    return path


def lengths(groups: Any) -> list[list[float]]:
    return [[float(len(response)) for response in group.responses] for group in groups]


def test_a_policy_learns_from_its_answers_to_them(
    prompts: Path, policy_folder: Path, tmp_path: Path
) -> None:
    config = rd.SemiOnlineConfig(
        num_generations=4,
        max_new_tokens=6,
        steps_per_generation=2,
        train=rd.TrainConfig(batch_size=2, max_steps=2, precision="fp32"),
    )
    output = tmp_path / "semi"
    rd.train_online(policy_folder, rd.load_groups(prompts), lengths, config, output=output)
    assert (output / "model" / "model.safetensors").exists()


def test_a_recipe_whose_policies_all_learn_online_runs_on_them(
    prompts: Path, policy_folder: Path, tmp_path: Path
) -> None:
    samples = {"num_generations": 2, "max_new_tokens": 5, "reward": {"source": "length"}}
    estimator = {"estimator": "rloo"}
    recipe = {
        "name": "alone",
        "model": str(policy_folder),
        "output": str(tmp_path / "run"),
        "data": {"path": str(prompts)},
        "scorers": {"length": {"kind": "length"}},
        "policies": {"rloo": {"train": SMALL, "online": {**samples, "advantage": estimator}}},
        "evaluation": {"sampling": {"max_new_tokens": 6, "stop": []}},
    }
    folder = run_recipe(recipe)
    results = json.loads((folder / "results.json").read_text())
    gains = {(c["a"], c["b"]): c for c in results["contrasts"]}
    assert ("rloo", "base") in gains
    assert results["data"]["ledger"]["changed"]["no_response"]["count"] == 30
    # What learns from comparisons in the same recipe ends before anything is trained.
    recipe |= {"output": str(tmp_path / "other"), "policies": {"dpo": {"train": SMALL}}}
    with pytest.raises(UserError, match=r"policies\.dpo: objective dpo .* holds prompts alone"):
        run_recipe(recipe)


def test_check_says_that_they_are_prompts(
    prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(prompts)]) == 0
    assert "no_response" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("reward", "a scorer learns from comparisons"),
        ("difference", "a scorer learns from comparisons"),
        ("dpo", "holds prompts alone"),
        ("kto", "holds prompts alone"),
        ("sft", "holds prompts alone"),
    ],
)
def test_what_learns_from_responses_says_that_there_are_none(
    kind: str, cause: str, prompts: Path, encoder_folder: Path, policy_folder: Path, tmp_path: Path
) -> None:
    model = str(encoder_folder if kind in ("reward", "difference") else policy_folder)
    with pytest.raises(UserError, match=cause) as error:
        train_stage(kind, model, prompts, tmp_path, STEPS)
    assert "\n" not in str(error.value)


def test_a_reward_that_compares_asks_for_stored_responses(
    prompts: Path, policy_folder: Path, tmp_path: Path
) -> None:
    config = rd.OnlineConfig(reward=rd.RewardConfig(kind="contrastive"), num_generations=2)
    groups = rd.load_groups(prompts)
    with pytest.raises(UserError, match="needs responses to compare with"):
        rd.train_online(policy_folder, groups, lengths, config, output=tmp_path)


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("score length {data} --output {output}.jsonl", "no response"),
        ("weigh {data} --scorer length --output {output}.jsonl", "no response"),
        ("eval length {data} --output {output}", "compares no two responses"),
        ("designs length {data} --output {output}", "no list has a known order"),
        ("annotate {data} --output {output}", "no two different responses"),
    ],
)
def test_commands_that_need_responses_say_so(
    command: str, cause: str, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"data": prompts, "output": tmp_path / "out"}
    assert main([part.format(**names) for part in command.split()]) == 2
    assert cause in capsys.readouterr().err.strip().splitlines()[-1]


def read(path: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[list[Any], Ledger]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ledger = Ledger()
    return list(rd.load_groups(path, ledger=ledger, **options)), ledger


def test_prompts_are_told_by_all_rows_of_the_beginning(tmp_path: Path) -> None:
    """One row without an answer does not make prompts of a file of pairs."""
    pair = {"prompt": "Say it", "chosen": "yes", "rejected": "no"}
    groups, ledger = read(tmp_path / "a.jsonl", [{"prompt": "Hm"}, pair], max_drop=1.0)
    assert [group.responses for group in groups] == [("yes", "no")]
    assert ledger.count(Reason.MISSING_FIELD) == 1


def test_a_column_that_may_be_a_response_is_left_unread_only_if_that_is_asked_for(
    tmp_path: Path,
) -> None:
    rows = [{"prompt": "1 + 1", "solution": "2"}, {"prompt": "1 + 1", "solution": "two"}]
    with pytest.raises(
        UserError, match=r"in no known format; .*prompts \(prompt\).*--format prompts"
    ):
        read(tmp_path / "a.jsonl", rows)
    groups, ledger = read(tmp_path / "a.jsonl", rows, format="prompts")
    assert [(group.prompt, group.responses) for group in groups] == [("1 + 1", ())]
    assert ledger.count(Reason.DUPLICATE) == 1
    with pytest.raises(UserError, match=r"the nearest is prompts .*rename question to prompt"):
        read(tmp_path / "b.jsonl", [{"question": "1 + 1"}])


def test_an_empty_list_of_responses_is_dropped_as_before(tmp_path: Path) -> None:
    rows = [{"prompt": "Say it", "responses": []}]
    with pytest.raises(UserError, match="single_response \\(0 responses\\)"):
        read(tmp_path / "a.jsonl", rows)


def test_a_baseline_is_read_however_many_answers_are_empty(tmp_path: Path) -> None:
    def row(prompt: str, *responses: str, scores: list[float | None]) -> dict[str, Any]:
        ended = [True] * len(responses)
        return {"prompt": prompt, "responses": responses, "ended": ended, "scores": scores}

    rows = [
        row("all", "a", "b", "c", scores=[1.0, 2.0, 3.0]),
        row("two", "a", "", "c", scores=[1.0, -5.0, 3.0]),
        row("one", "a", "", " ", scores=[1.0, -5.0, -5.0]),
        row("none", "", "", "", scores=[-5.0, -5.0, -5.0]),
        row("same", "a", "a", "a", scores=[1.0, 1.0, 1.0]),
        row("unscored", "a", "b", "c", scores=[1.0, None, None]),
    ]
    groups, ledger = read(tmp_path / "baseline.jsonl", rows, max_drop=0.0)
    assert ledger.dropped == 0
    by_prompt = {group.prompt: (group.responses, group.scores) for group in groups}
    assert by_prompt == {
        "all": (("a", "b", "c"), (1.0, 2.0, 3.0)),
        "two": (("a", "c"), (1.0, 3.0)),
        "one": (("a",), (1.0,)),
        "none": ((), None),
        "same": (("a",), (1.0,)),
        "unscored": (("a", "b", "c"), None),
    }
    changed = {reason: tally["count"] for reason, tally in ledger.to_dict()["changed"].items()}
    # Empty: in three rows. Twice the answer of before. Left alone: two. Without any: one.
    assert changed == {
        "empty_response": 3,
        "identical_responses": 2,
        "single_response": 2,
        "no_response": 1,
        "missing_field": 1,
    }
