"""A recipe's stored responses: the data's own, a file of `rewarddiff baseline`, or drawn once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rewarddiff as rd
from rewarddiff.cli import main
from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.rewards.stored import read_baseline
from rewarddiff.scorers.length import LengthScorer

PROMPTS = [f"Say it {i}" for i in range(6)]


@pytest.fixture
def plan(policy_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe of two turns, whose reward is the length above that of drawn responses."""
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": prompt, "chosen": "yes", "rejected": "no."} for prompt in PROMPTS]
    path.write_text("\n".join(map(json.dumps, rows)))
    online = {
        "num_generations": 2,
        "max_new_tokens": 5,
        "reward": {"source": "length", "kind": "contrastive"},
        "baseline": {"k": 2},
    }
    train = {"batch_size": 2, "max_steps": 2, "precision": "fp32", "lr": 1e-3}
    return {
        "name": "against",
        "model": str(policy_folder),
        "output": str(tmp_path / "run"),
        "data": {"path": str(path), "splits": {"train": 1.0}},
        "scorers": {"length": {"kind": "length"}},
        "policies": {"ppo": {"train": train, "online": online}},
    }


def mean_scores(path: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["prompt"]: float(np.mean(line["scores"])) for line in lines}


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "policies" / "ppo-0" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def model(folder: Path) -> bytes:
    return (folder / "policies" / "ppo-0" / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_drawn_responses_are_those_of_the_command_and_a_file_of_it_trains_the_same_policy(
    plan: dict[str, Any],
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = run_recipe(plan)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 responses of" in said
    assert "to each of 6 prompts" in said
    stage = folder / "baselines" / "ppo-0"
    assert (stage / "baseline.html").exists()
    drawn = json.loads((stage / "manifest.json").read_text())["baseline"]
    by_prompt = mean_scores(stage / "baseline.jsonl")
    assert drawn["prompts"] == 6
    assert drawn["means"]["mean"] == pytest.approx(np.mean(list(by_prompt.values())))
    assert drawn["between"] is None or 0 <= drawn["between"] <= 1
    # The rewards are less what was drawn: r of the samples less that of the log is that of these.
    for line in metrics(folder):
        taken_off = line["objective/scores"] - line["reward"]
        assert min(by_prompt.values()) <= taken_off <= max(by_prompt.values())

    # The command draws the same to the same prompts, with the same settings.
    file = tmp_path / "drawn" / "baseline.jsonl"
    settings = ["k=2", "max_new_tokens=5", "stop=[]", "batch_size=64"]
    command = [
        "baseline",
        plan["data"]["path"],
        "--model",
        str(policy_folder),
        "--scorer",
        "length",
    ]
    assert main([*command, "--output", str(file), *settings]) == 0
    ours, theirs = read_baseline(stage / "baseline.jsonl"), read_baseline(file)
    assert ours.content == theirs.content

    # Its file is taken as it is: its scores are of this scorer, and nothing is scored again.
    asked: list[int] = []
    rewards = LengthScorer.rewards

    def watched(self: Any, groups: Sequence[Any], **options: Any) -> Any:
        asked.extend(len(group.responses) for group in groups)
        return rewards(self, groups, **options)

    monkeypatch.setattr(LengthScorer, "rewards", watched)
    plan["policies"]["ppo"]["online"]["baseline"] = {"file": str(file)}
    plan["output"] = str(tmp_path / "of-file")
    of_file = run_recipe(plan)
    assert len(asked) == 4  # the samples of two turns of two prompts
    assert model(of_file) == model(folder)
    assert not (of_file / "baselines").exists()

    # Scores of another scorer are in another unit: they are asked for again.
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row |= {"scorer": "another", "scores": [100.0, 200.0]}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan["output"] = str(tmp_path / "of-others")
    asked.clear()
    assert model(run_recipe(plan)) == model(folder)
    assert len(asked) == 6 + 4


@pytest.mark.slow
def test_a_run_does_nothing_again_and_draws_nothing_twice(
    plan: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_recipe(plan)
    manifest = folder / "baselines" / "ppo-0" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        nothing = "rewarddiff.sampling.generate._generated"
        patch.setattr(nothing, lambda *_, **__: pytest.fail("drawn again"))
        run_recipe(plan)
        assert manifest.stat().st_mtime_ns == before
    # Another learning rate is another policy against the same responses.
    plan["policies"]["ppo"]["train"]["lr"] = 2e-3
    run_recipe(plan)
    assert manifest.stat().st_mtime_ns == before
    # With a refresh they are drawn again on the way, from the policy.
    plan["policies"]["ppo"]["online"]["baseline"]["refresh"] = 1
    other = run_recipe(plan)
    assert manifest.stat().st_mtime_ns == before
    assert len(metrics(other)) == 2


def baseline_file(folder: Path, prompts: Sequence[str], **more: Any) -> Path:
    path = folder / "stored.jsonl"
    rows = [{"prompt": prompt, "responses": ["a", "bc"], **more} for prompt in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_prompt_that_the_file_lacks_is_named_before_anything_is_trained(
    plan: dict[str, Any], tmp_path: Path
) -> None:
    file = baseline_file(tmp_path, PROMPTS[:4])
    plan["policies"]["ppo"]["online"]["baseline"] = {"file": str(file)}
    reason = (
        r"^policies\.ppo\.online\.baseline\.file: .*pairs\.jsonl:\d: .*stored\.jsonl: has no responses "
        r"to the prompt 'Say it \d'.*draw them with `rewarddiff baseline`.*2 of 6 prompts"
    )
    with pytest.raises(UserError, match=reason):
        run_recipe(plan)
    assert not (tmp_path / "run" / "policies").exists()


def test_files_that_are_none_are_named(plan: dict[str, Any], tmp_path: Path) -> None:
    plan["policies"]["ppo"]["online"]["baseline"] = {"file": str(tmp_path / "nowhere.jsonl")}
    with pytest.raises(UserError, match=r"policies\.ppo\.online\.baseline\.file: .*nowhere"):
        run_recipe(plan)
    file = baseline_file(tmp_path, PROMPTS)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["responses"] = ["a"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan["policies"]["ppo"]["online"]["baseline"] = {"file": str(file)}
    plan["policies"]["ppo"]["online"]["reward"]["baseline"] = "max"
    with pytest.raises(UserError, match="1 response to one prompt and 2 to another"):
        run_recipe(plan)


def test_a_value_head_that_is_not_there_is_named_before_anything_is_trained(
    plan: dict[str, Any], tmp_path: Path
) -> None:
    plan["policies"]["ppo"]["online"]["value_head"] = str(tmp_path / "nowhere.safetensors")
    reason = r"policies\.ppo\.online\.value_head: .*nowhere.* cannot be read \(No such file"
    with pytest.raises(UserError, match=reason):
        run_recipe(plan)
    assert not (tmp_path / "run" / "baselines").exists()


@pytest.mark.slow
def test_a_recipe_keeps_a_value_head_and_starts_from_one(
    plan: dict[str, Any], tmp_path: Path
) -> None:
    plan["policies"]["ppo"]["online"]["save_value_head"] = True
    first = run_recipe(plan)
    head = first / "policies" / "ppo-0" / "value_head.safetensors"
    assert head.exists()
    plan["output"] = str(tmp_path / "second")
    plan["policies"]["ppo"]["online"]["value_head"] = str(head)
    second = run_recipe(plan)
    # Values that are no longer 0 are other advantages.
    assert model(second) != model(first)
    # A head that lies in what the run makes anew would be lost.
    plan["output"] = str(first)
    with pytest.raises(UserError, match=r"online\.value_head: .* lies in a folder that this run"):
        run_recipe(plan)


def test_a_baseline_without_a_reward_that_reads_it_is_refused(plan: dict[str, Any]) -> None:
    override = "policies.ppo.online.reward.kind=score"
    with pytest.raises(UserError, match="reward score compares with no stored responses"):
        load_recipe(plan, [override], Recipe).check()


def test_from_python_responses_come_from_a_file_or_are_drawn(
    policy_folder: Path, tmp_path: Path
) -> None:
    stored: list[tuple[str, ...]] = []

    def lengths(groups: Sequence[rd.Group]) -> list[list[float]]:
        if len(groups[0].responses) != 3:
            stored.extend(group.responses for group in groups)
        return [[float(len(r)) for r in group.responses] for group in groups]

    prompts = [rd.Group(f"g{i}", prompt, ("own",)) for i, prompt in enumerate(PROMPTS)]
    train = rd.TrainConfig(precision="fp32", max_steps=1, batch_size=2)
    for source in (
        rd.StoredConfig(file=str(baseline_file(tmp_path, PROMPTS))),
        rd.StoredConfig(k=2),
    ):
        config = rd.OnlineConfig(
            reward=rd.RewardConfig("contrastive"), baseline=source, num_generations=3,
            max_new_tokens=4, train=train,
        )  # fmt: skip
        output = tmp_path / ("drawn" if source.file is None else "of-file")
        rd.train_online(policy_folder, prompts, lengths, config, output=output)
    assert stored[:6] == [("a", "bc")] * 6
    # Drawn are those of the one turn.
    assert len(stored) == 6 + 2
    assert all(len(responses) == 2 and "own" not in responses for responses in stored[6:])
