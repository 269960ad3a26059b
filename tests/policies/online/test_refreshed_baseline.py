"""Stored responses that the trainer draws: once at its start, and anew every so many turns."""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from online_examples import BASELINES, PROMPTS, STEADY, at_call, learn, letters, short, weights_of
from transformers import PreTrainedTokenizerFast

from rewarddiff.differences import Differences
from rewarddiff.errors import UserError
from rewarddiff.policies.online.baselines import needed
from rewarddiff.policies.online.config import OnlineConfig, StoredConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig, RewardFunctions
from rewarddiff.policies.online.rollouts import OnlinePrompt
from rewarddiff.records import Group
from rewarddiff.rewards import ScaleConfig

TIMES = ("seconds", "time/sampling", "time/reading", "time/scoring")


def drawing(refresh: int | None = None, k: int = 2, **options: Any) -> OnlineConfig:
    """Six turns of two of the eight prompts."""
    return short(
        reward=RewardConfig("contrastive", scale=ScaleConfig("absolute_mean")),
        advantage=AdvantageConfig("reinforce"),
        baseline=StoredConfig(k=k, refresh=refresh),
        train=replace(STEADY, batch_size=2, max_steps=6),
        **options,
    )


class Watching:
    """The reward of letters; remembers which groups had how many responses."""

    def __init__(self, generations: int = 3) -> None:
        self.generations = generations
        self.stored: list[list[Group]] = []
        self.calls = 0

    def __call__(self, groups: Sequence[Group]) -> Any:
        self.calls += 1
        if len(groups[0].responses) != self.generations:
            self.stored.append(list(groups))
        return letters(groups)


def test_without_refresh_they_are_drawn_once_from_the_start(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    watching = Watching()
    learn(tiny_tokenizer, tmp_path, drawing(), reward=watching)
    (stored,) = watching.stored
    # Six turns of two prompts come to all eight.
    assert {group.id for group in stored} == {group.id for group in PROMPTS}
    assert {len(group.responses) for group in stored} == {2}
    # They are of the start: with steps of next to nothing they are the same.
    still = Watching()
    learn(tiny_tokenizer, tmp_path / "still", drawing(), reward=still, lr=1e-12)
    assert still.stored == [stored]
    # And they are not the samples that are trained on, which are drawn by the same seed.
    assert len({response for group in stored for response in group.responses}) > 8


def test_they_are_drawn_anew_for_the_turns_to_come(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    watching = Watching()
    learn(tiny_tokenizer, tmp_path, drawing(refresh=2), reward=watching)
    assert len(watching.stored) == 3  # before turns 0, 2 and 4
    for stored in watching.stored:
        # Two turns of an epoch of four have two other prompts each.
        assert len({group.id for group in stored}) == 4
    first, second, _ = watching.stored
    assert {group.id for group in first} | {group.id for group in second} == {
        group.id for group in PROMPTS
    }


def test_refreshed_responses_are_of_the_policy_as_it_is_then(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    watching = Watching()
    config = drawing(refresh=10, k=8, num_generations=3)
    config = replace(config, train=replace(config.train, batch_size=4, max_steps=31))
    learn(tiny_tokenizer, tmp_path, config, reward=watching, lr=2e-2)
    means = [float(np.mean(letters(stored))) for stored in watching.stored]
    assert len(means) == 4
    assert means[0] < 0.2  # a tenth of all tokens are small letters
    assert means[-1] > means[0] + 0.2  # what was learned is in the baseline


def test_prompts_keep_the_responses_that_they_bring_until_the_first_refresh(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    watching = Watching(generations=4)
    config = drawing(refresh=4, num_generations=4)
    learn(tiny_tokenizer, tmp_path, config, reward=watching, prompts=BASELINES)
    brought, drawn = watching.stored
    assert [group.responses for group in brought] == [(" abc", " 123", " a1")] * 8
    assert {len(group.responses) for group in drawn} == {2}


def test_the_reward_is_less_the_mean_of_what_was_drawn(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rewards: list[tuple[str, float]] = []

    class Noting(Watching):
        def __call__(self, groups: Sequence[Group]) -> Any:
            scores = super().__call__(groups)
            if len(groups[0].responses) == self.generations:
                rewards.extend(
                    (group.id, float(np.mean(of_group)))
                    for group, of_group in zip(groups, scores, strict=True)
                )
            return scores

    noting = Noting()
    config = replace(drawing(refresh=2), reward=RewardConfig("contrastive"))
    _, result = learn(tiny_tokenizer, tmp_path, config, reward=noting)
    for turn, line in enumerate(result.curve):
        baselines = {
            group.id: np.mean(of_group)
            for group, of_group in zip(
                noting.stored[turn // 2], letters(noting.stored[turn // 2]), strict=True
            )
        }
        of_turn = rewards[2 * turn : 2 * turn + 2]
        expected = np.mean([reward - baselines[prompt] for prompt, reward in of_turn])
        assert line["reward"] == pytest.approx(expected)


def test_an_interrupted_refresh_goes_on_to_the_bit(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def lines(curve: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k not in TIMES} for line in curve]

    def die() -> None:
        raise ConnectionError("gone")

    config = drawing(refresh=2)
    whole, result = learn(tiny_tokenizer, tmp_path / "whole", config)
    expected = weights_of(whole)
    # Each refresh is a call more: calls 1, 4 and 7 are for the stored responses.
    interruptions: list[tuple[str, int, Any, type[BaseException]]] = [
        ("stopped in the middle of a period", 5, lambda: signal.raise_signal(signal.SIGINT),
         KeyboardInterrupt),
        ("died while a baseline was scored", 4, die, ConnectionError),
        ("died in a turn before which it was drawn", 8, die, ConnectionError),
    ]  # fmt: skip
    for name, call, action, error in interruptions:
        folder = tmp_path / name.replace(" ", "-")
        with pytest.raises(error):
            learn(tiny_tokenizer, folder, config, reward=at_call(call, action))
        model, resumed = learn(tiny_tokenizer, folder, config)
        for weight, value in weights_of(model).items():
            assert torch.equal(value, expected[weight]), (name, weight)
        assert lines(resumed.curve) == lines(result.curve)


def test_a_stored_response_without_a_score_comes_back_from_a_checkpoint_without_one(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def sparing(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        if len(groups[0].responses) == 2:
            for of_group in rewards:
                of_group[0] = math.nan
        return rewards

    def stopping(groups: Sequence[Group]) -> Any:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return sparing(groups)

    calls = itertools.count(1)
    config = drawing()
    whole, _ = learn(tiny_tokenizer, tmp_path / "whole", config, reward=sparing)
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_tokenizer, tmp_path / "parts", config, reward=stopping)
    model, _ = learn(tiny_tokenizer, tmp_path / "parts", config, reward=sparing)
    expected = weights_of(whole)
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, expected[name]), name


def test_a_scorer_of_pairs_is_refreshed_without_scores(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    against: list[tuple[str, ...]] = []

    def of_letters(groups: Sequence[Group], pairs: Any) -> list[Differences]:
        differences = []
        for group, rewards, of_group in zip(groups, letters(groups), pairs, strict=True):
            against.append(group.responses[3:])
            values = [(rewards[a] - rewards[b]) ** 3 for a, b in of_group]
            differences.append(Differences.of(values, of_group, apart=False))
        return differences

    config = short(
        reward=RewardConfig("contrastive_difference"), advantage=AdvantageConfig("grpo"),
        baseline=StoredConfig(k=1, refresh=2),
    )  # fmt: skip
    learn(tiny_tokenizer, tmp_path, config, reward=RewardFunctions(differences=of_letters))
    assert {len(responses) for responses in against} == {1}
    assert len(set(against)) > 8  # two draws of eight prompts


@pytest.mark.parametrize("refresh", [None, 1, 3])
def test_only_what_is_trained_on_is_drawn(refresh: int | None) -> None:
    config = drawing(refresh=refresh)
    config = replace(config, train=replace(config.train, max_steps=2))
    prompts = [OnlinePrompt(i, (1,), group) for i, group in enumerate(PROMPTS)]
    asked = needed(prompts, 0, config, seed=0)
    # Two turns of two prompts, or one; never those of a turn that is not reached.
    assert len(asked) == (2 if refresh == 1 else 4)


def test_options_of_a_baseline_that_are_refused() -> None:
    with pytest.raises(UserError, match="baseline: reward score compares with no stored"):
        short(baseline=StoredConfig())
    for options in ({"k": 0}, {"refresh": 0}, {"temperature": 0.0}):
        with pytest.raises((UserError, ValueError), match=next(iter(options))):
            StoredConfig(**options)  # type: ignore[arg-type]
