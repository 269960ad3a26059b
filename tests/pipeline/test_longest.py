"""A row that has no room by itself is refused before anything is trained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import rewarddiff as rd
from rewarddiff.config import load_recipe
from rewarddiff.data.groups import text_bytes
from rewarddiff.errors import UserError
from rewarddiff.footprint import fitted, refusing
from rewarddiff.footprint.free import FIRST, SECOND, _left_by_group
from rewarddiff.footprint.memory import Pass, evaluating, training
from rewarddiff.pipeline import Recipe, run_recipe
from rewarddiff.pipeline.data import prepare
from rewarddiff.pipeline.planning import check_longest, fitting, machines
from rewarddiff.pipeline.planning.costs import way_of
from rewarddiff.pipeline.planning.machines import Device

LONG = 700
"""Bytes of the long row's prompt: the tiny tokenizer makes a token of each."""


@pytest.fixture
def recipe(policy_folder: Path, tmp_path: Path) -> dict[str, Any]:
    rows = []
    for i in range(30):
        prompt = "x" * LONG if i == 6 else f"Say it {i}"
        rows.append({"prompt": prompt, "chosen": f" yes {i}", "rejected": " no"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = {"batch_size": 2, "max_steps": 1, "precision": "fp32", "microbatch_tokens": 64}
    return {
        "name": "long",
        "output": str(tmp_path / "run"),
        "data": {"path": str(path), "splits": {"train": 1.0}},
        "model": str(policy_folder),
        "policies": {"dpo": {"train": train}},
    }


def between(recipe: dict[str, Any]) -> float:
    """Return bytes that are enough for a pass of 64 tokens, and not for one of the long row."""
    (training,) = fitting.trainings(load_recipe(recipe, [], Recipe))
    device = Device("a machine", None)
    usual, longest = (training.peak(device, tokens).total for tokens in (64, LONG))
    assert usual < longest
    return (usual + longest) / 2


def test_the_row_is_named_with_its_tokens_and_what_would_need_less(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "free_memory", lambda: between(recipe))
    with pytest.raises(UserError) as refused:
        run_recipe(recipe)
    line = str(refused.value)
    found = re.match(
        r".*pairs\.jsonl:7: training by policies\.dpo reads (\d+) tokens of it at once", line
    )
    assert found
    assert LONG < int(found[1]) < LONG + 20  # the prompt and one response
    assert "GiB are free on" in line
    assert re.search(r"set policies\.dpo\.train\.gradient_checkpointing=true|cut texts", line)
    assert "\n" not in line
    assert not (tmp_path / "run/policies").exists()


def test_it_is_let_through_where_it_is_cut_or_where_there_is_room(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = between(recipe)
    monkeypatch.setattr(machines, "free_memory", lambda: free)
    assert run_recipe(recipe, ["lengths.max_prompt=40"]).is_dir()
    monkeypatch.setattr(machines, "free_memory", lambda: 2 * free)
    assert run_recipe(recipe).is_dir()


@pytest.fixture
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what torch loads, rows of a tiny model are nothing."""
    monkeypatch.setattr(fitted, "CPU_BESIDE", 0.0)


def read_alone(recipe: dict[str, Any], most: int) -> float:
    """Return bytes that are planned for a pass of so many tokens that learns nothing, in mid-training."""
    (training,) = fitting.trainings(load_recipe(recipe, [], Recipe))
    way = way_of(training.shape, training.train, training.lora, Device("a machine", None))
    return evaluating(training.shape, Pass(most, 0.0, most**2 / 2), way).total


@pytest.mark.usefixtures("no_libraries")
def test_a_row_of_the_dev_split_is_read_and_not_learned(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it needs less than the same row of the training split, and is refused where that is not there."""

    def line(seed: int, free: float, *changes: str) -> str:
        monkeypatch.setattr(machines, "free_memory", lambda: free)
        changes = ("data.splits={train: 0.5, dev: 0.5}", f"data.seed={seed}", *changes)
        run = prepare(load_recipe(recipe, list(changes), Recipe), tmp_path / "checked")
        is_in[seed] = any(len(group.prompt) == LONG for group in run.splits["dev"])
        try:
            check_longest(run)
        except UserError as refused:
            return str(refused)
        return ""

    is_in: dict[int, bool] = {}
    in_between = read_alone(recipe, LONG + 20)
    for seed in range(6):
        assert (line(seed, in_between) == "") == is_in[seed]
    assert set(is_in.values()) == {True, False}
    in_dev = next(seed for seed, is_dev in is_in.items() if is_dev)
    too_little = read_alone(recipe, LONG) / 1.3
    assert "pairs.jsonl:7: training by policies.dpo reads 7" in line(in_dev, too_little)
    assert line(in_dev, too_little, "policies.dpo.train.eval_every=null") == ""


def test_a_row_that_a_scorer_is_measured_on_is_refused_before_the_scorer_is_trained(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 16 float32 for each of 32 units a token, so 1.4 MB; the others a tenth of that."""
    monkeypatch.setattr(refusing, "LOOKED_AT", 0)
    monkeypatch.setattr(refusing, "free_memory", lambda: 1e6)
    scorers = {"reward": {"kind": "reward", "backbone": recipe["model"]}}
    seen = set()
    for seed in range(6):
        changes = ("data.splits={train: 0.5, test: 0.5}", f"data.seed={seed}", "policies={}")
        config = load_recipe({**recipe, "scorers": scorers}, list(changes), Recipe)
        run = prepare(config, tmp_path / "checked")
        in_test = any(len(group.prompt) == LONG for group in run.splits["test"])
        refusal = ""
        try:
            check_longest(run)
        except UserError as refused:
            refusal = str(refused)
        assert ("pairs.jsonl:7: scorers.reward reads 7" in refusal) == in_test
        seen.add(in_test)
    assert seen == {True, False}
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_libraries")
@pytest.mark.parametrize("how", ["recipe", "Python"])
def test_a_prompt_that_a_policy_is_to_answer_and_learn_from(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What it answers is not known, so the prompt alone is planned: of its tokens none is predicted."""
    recipe["policies"]["dpo"]["train"]["gradient_checkpointing"] = True
    (plain,) = fitting.trainings(load_recipe(recipe, [], Recipe))
    way = way_of(plain.shape, plain.train, plain.lora, Device("a machine", None))
    for_prompt = training(plain.shape, Pass(LONG, 0.0, LONG**2 / 2), way).total
    options = {"num_generations": 2, "max_new_tokens": 2}
    online = {**options, "reward": {"source": "length"}, "advantage": {"estimator": "rloo"}}
    policies = {"rloo": {**recipe["policies"]["dpo"], "online": online}}
    scorers = {"length": {"kind": "length"}}
    limit = "lengths.max_prompt"

    def check() -> None:
        asked = {**recipe, "scorers": scorers, "policies": policies}
        check_longest(prepare(load_recipe(asked, [], Recipe), tmp_path / "checked"))

    if how == "Python":
        limit = "max_prompt"

        def check() -> None:
            config = rd.OnlineConfig(**options, train=plain.train)
            rd.train_online(recipe["model"], prompts, all_alike, config, output=tmp_path / "out")

        prompts = rd.load_groups(recipe["data"]["path"])

        def all_alike(groups: Any) -> list[list[float]]:
            return [[0.0] * len(group.responses) for group in groups]

    monkeypatch.setattr(machines, "free_memory", lambda: 1.01 * for_prompt)
    check()
    monkeypatch.setattr(machines, "free_memory", lambda: 0.99 * for_prompt)
    with pytest.raises(
        UserError, match=rf"pairs\.jsonl:7: training by .* reads 7.* with {limit}, l"
    ):
        check()


@pytest.mark.usefixtures("no_libraries")
@pytest.mark.parametrize("what", ["policy", "scorer", "dev"])
def test_trainings_from_python_are_refused_as_well(
    recipe: dict[str, Any],
    policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    groups = rd.load_groups(recipe["data"]["path"])
    short, long = groups[:6], list(groups[6:7])
    train = rd.TrainConfig(max_steps=1, precision="fp32", batch_size=2, microbatch_tokens=64)

    def trained(output: Path) -> None:
        if what == "policy":
            config = rd.PolicyConfig(train=train)
            rd.train_policy(policy_folder, [*short, *long], output=output, config=config)
            return
        scorer = rd.ScorerConfig(backbone=str(policy_folder), kind="reward", train=train)
        if what == "dev":
            rd.train_scorer(scorer, short, long, output=output)
        else:
            rd.train_scorer(scorer, groups, output=output)

    monkeypatch.setattr(machines, "free_memory", lambda: read_alone(recipe, LONG) / 1.3)
    mend = r"set config\.train\.gradient_checkpointing=true|cut texts"
    with pytest.raises(UserError, match=rf"pairs\.jsonl:7: training by config reads 7.*({mend})"):
        trained(tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    monkeypatch.setattr(machines, "free_memory", lambda: 2**31)
    trained(tmp_path / "trained")
    assert (tmp_path / "trained/model").is_dir()


def test_texts_of_a_list_are_as_long_as_those_of_a_file(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Où?"}, {"role": "assistant", "content": "Là."}]
    prompt = [*turns, {"role": "user", "content": "Non"}]
    rows = [{"prompt": prompt, "chosen": "é", "rejected": "no"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    groups = rd.load_groups(path)
    assert text_bytes(groups).tolist() == [4 + 4 + 3 + 2 + 2]
    assert text_bytes(list(groups)).tolist() == [4 + 4 + 3 + 2 + 2]


def test_a_control_groups_limit_is_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both versions, also where the group above sets the limit; contents of files are given up."""
    for number, files in enumerate((FIRST, SECOND)):
        group = tmp_path / str(number) / "outer" / "inner"
        group.mkdir(parents=True)
        (group.parent / files.limit).write_text("3000000\n")
        (group.parent / files.used).write_text("2500000\n")
        # Files that were read once are inactive, and those read twice active; both are given up.
        inactive, active = files.kept
        (group.parent / "memory.stat").write_text(f"cache 7\n{inactive} 60000\n{active} 40000\n")
        placed = files._replace(root=tmp_path / str(number))
        left = [
            *_left_by_group(group, placed),
            *_left_by_group(group.parent, placed),
        ]
        assert left == [600_000.0]
