"""Scorers as reward functions: rows in, one reward each, and TRL's own online trainers over them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.integrations.scoring import process_device, rewards_of
from rewarddiff.integrations.trl import reward_function
from rewarddiff.integrations.trl.rewards import AsyncRewardFunction
from rewarddiff.records import Group, Message, Prompt
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.scorers.neural.build import load_scorer

PROMPTS = ["Name a colour.", "2 + 2?", "Name a colour.", "Name a colour."]
COMPLETIONS = [" Red.", " 4", " No", " Red."]


def test_a_reward_model_gives_its_rewards_in_the_order_of_rows(
    reward_folder: Path,
) -> None:
    function = reward_function(reward_folder)
    assert function.__name__ == "reward"
    rewards = function(prompts=PROMPTS, completions=COMPLETIONS, completion_ids=[[1]] * 4)
    scorer = load_scorer(reward_folder)
    for prompt, completion, reward in zip(PROMPTS, COMPLETIONS, rewards, strict=True):
        (expected,) = scorer.rewards([Group("", prompt, (completion,))])  # type: ignore[attr-defined]
        assert reward == pytest.approx(expected[0], abs=1e-6)
    assert rewards[0] == rewards[3] != rewards[2]


def test_turns_are_read_as_a_conversation(reward_folder: Path) -> None:
    function = reward_function(reward_folder)
    prompt = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}]
    called = [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]},
        {"role": "tool", "content": "4", "name": "add"},
        {"role": "assistant", "content": "It is 4."},
    ]
    rewards = function(
        prompts=[prompt, prompt], completions=[[{"role": "assistant", "content": "4"}], called]
    )
    asked = (Message("system", "Be short."), Message("user", "2 + 2?"))
    further = (
        Message.of("assistant", "", {"tool_calls": [{"function": {"name": "add"}}]}),
        Message.of("tool", "4", {"name": "add"}),
    )
    groups = [Group("", asked, ("4",)), Group("", asked + further, ("It is 4.",))]
    expected = load_scorer(reward_folder).rewards(groups)  # type: ignore[attr-defined]
    assert rewards == pytest.approx([values[0] for values in expected], abs=1e-6)


VALUES = {"good": 3.0, "fair": 1.0, "bad": -1.0}


class Table:
    """A scorer that compares: d(a, b) is what is written down of the two texts."""

    name = "table"
    temperature = None
    prompts = None

    def differences(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]], **_: Any
    ) -> list[Differences]:
        differences = []
        for group, group_pairs in zip(groups, pairs, strict=True):
            values = [VALUES[response] for response in group.responses]
            d = [values[a] - values[b] for a, b in group_pairs]
            differences.append(Differences.of(d, group_pairs))
        return differences


def test_who_compares_gives_the_mean_difference_to_the_others() -> None:
    """d(good, fair) = 2 and d(good, bad) = 4: mean 3. A lone response is compared with nothing."""
    metrics: dict[str, float] = {}
    function = reward_function(Table())
    rewards = function(
        prompts=["p", "q", "p", "p"],
        completions=["good", "good", "fair", "bad"],
        log_metric=metrics.__setitem__,
    )
    assert rewards == [3.0, None, 0.0, -3.0]
    assert metrics == {"rewards/table/failed": 0.25}


class Refusing(LengthScorer):
    """A scorer that fails where a prompt says so."""

    def rewards(self, groups: Sequence[Group], **_: Any) -> list[Array]:
        for group in groups:
            if group.prompt == "fail":
                raise UserError("the server answered 500 \x1b[31m")
        return super().rewards(groups)


def test_a_failure_is_none_for_its_rows_alone(caplog: pytest.LogCaptureFixture) -> None:
    metrics: dict[str, float] = {}
    function = reward_function(Refusing(), name="length")
    rewards = function(
        prompts=["p", "fail", "q", "p"],
        completions=["abc", "abc", "", [{"role": "user", "content": "no answer"}]],
        log_metric=metrics.__setitem__,
    )
    assert rewards == [pytest.approx(1.3862943611), None, 0.0, None]  # log(1 + 3), log(1 + 0)
    assert metrics == {"rewards/length/failed": 0.5}
    assert "length: no reward for 2 of 4 completions: completion 3: completion ends" in caplog.text
    assert "\x1b" not in caplog.text


class Down(LengthScorer):
    """A server that answers nothing, and the prompts it was asked for."""

    def rewards(self, groups: Sequence[Group], **_: Any) -> list[Array]:
        ASKED.append([group.prompt for group in groups])
        raise UserError("cannot be reached")


ASKED: list[list[Prompt]] = []


def test_a_server_that_is_down_is_not_asked_for_every_prompt() -> None:
    """All together, then three by themselves; the others count as failed."""
    rewards = rewards_of(Down(), ["a", "b", "c", "d", "e"], ["abc"] * 5)
    assert rewards.scores == [None] * 5
    assert rewards.problems == ["cannot be reached"] * 5
    assert ASKED == [["a", "b", "c", "d", "e"], ["a"], ["b"], ["c"]]


def test_a_scorer_that_only_fails_ends_the_training() -> None:
    function = reward_function(Refusing(), name="length")
    for _ in range(2):
        assert function(prompts=["fail"], completions=["abc"]) == [None]
    assert function(prompts=["p"], completions=["abc"]) != [None]
    for _ in range(2):
        assert function(prompts=["fail"], completions=["abc"]) == [None]
    with pytest.raises(UserError, match="length: 3 calls one behind the other gave no reward: the"):
        function(prompts=["fail"], completions=["abc"])


def test_an_asynchronous_function_gives_the_same() -> None:
    metrics: dict[str, float] = {}
    function = AsyncRewardFunction(LengthScorer(), "length")
    rewards = asyncio.run(
        function(prompts=["p", "q"], completions=["abc", ""], log_metric=metrics.__setitem__)
    )
    assert rewards == [pytest.approx(1.3862943611), 0.0]
    assert metrics == {"rewards/length/failed": 0.0}


def test_each_process_has_an_accelerator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert process_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert process_device() == torch.device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert process_device() == torch.device("cuda:3")


def parts(folder: Path) -> dict[str, Any]:
    prompts = ["Name a colour.", "2 + 2?", "Say hello.", "Why?"]
    return {
        "model": AutoModelForCausalLM.from_pretrained(folder),
        "processing_class": AutoTokenizer.from_pretrained(folder),
        "train_dataset": Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
    }


def settings(output: Path) -> dict[str, Any]:
    return {
        "output_dir": str(output),
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 6,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }


@pytest.mark.parametrize(
    ("trainer_class", "config_class"), [(GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)]
)
def test_three_steps_of_an_online_trainer(
    trainer_class: Any,
    config_class: Any,
    reward_folder: Path,
    difference_folder: Path,
    policy_folder: Path,
    tmp_path: Path,
) -> None:
    functions = [
        reward_function(reward_folder),
        reward_function(difference_folder),
        AsyncRewardFunction(LengthScorer(), "length"),
    ]
    everything = parts(policy_folder)
    before = {n: p.detach().clone() for n, p in everything["model"].named_parameters()}
    trainer = trainer_class(
        reward_funcs=functions, args=config_class(**settings(tmp_path)), **everything
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "reward" in line]
    assert len(lines) == 3
    for line in lines:
        for name in ("reward", "difference", "length"):
            assert line[f"rewards/{name}/failed"] == 0.0
            assert line[f"rewards/{name}/mean"] == line[f"rewards/{name}/mean"]  # no NaN
        assert line["rewards/difference/mean"] == pytest.approx(0, abs=1e-6)
        assert line["rewards/length/mean"] > 0
    after = dict(trainer.model.named_parameters())
    assert any(not torch.equal(after[name], value) for name, value in before.items())


def test_failures_move_no_policy(policy_folder: Path, tmp_path: Path) -> None:
    """What has no reward has advantage 0 in TRL; a whole run of it is ended."""
    everything = parts(policy_folder)
    everything["train_dataset"] = Dataset.from_list([{"prompt": "fail"}] * 4)
    before = {n: p.detach().clone() for n, p in everything["model"].named_parameters()}
    trainer = GRPOTrainer(
        reward_funcs=reward_function(Refusing(), name="length"),
        args=GRPOConfig(**settings(tmp_path)),
        **everything,
    )
    with pytest.raises(UserError, match="3 calls one behind the other gave no reward"):
        trainer.train()
    first = trainer.state.log_history[0]
    assert first["rewards/length/failed"] == 1.0
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, before[name]), name
