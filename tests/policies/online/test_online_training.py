"""Training on one's own samples: it learns, stops where it has to, and goes on exactly."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from online_examples import (
    BASELINES,
    PROMPTS,
    STEADY,
    at_call,
    learn,
    letters,
    llama,
    short,
    weights_of,
)
from transformers import PreTrainedTokenizerFast

from rewarddiff import machine
from rewarddiff.differences import Differences
from rewarddiff.errors import UserError
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig, RewardFunctions
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, with_adapter
from rewarddiff.records import Group
from rewarddiff.rewards import ScaleConfig

TIMES = ("seconds", "time/sampling", "time/reading", "time/scoring")


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage before a measurement takes longer than these trainings."""
    monkeypatch.setattr(machine, "release_memory", lambda: None)


def lines(curve: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without their times."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in curve]


@pytest.mark.parametrize("estimator", ["gae", "reinforce", "rloo", "grpo"])
def test_the_reward_rises(
    estimator: Any, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = short(
        advantage=AdvantageConfig(estimator), kl=KLConfig(kl_coef=0.001), num_generations=8
    )
    _, result = learn(tiny_tokenizer, tmp_path, config, max_steps=30, lr=2e-2)
    rewards = [line["reward"] for line in result.curve]
    # Drawn at random, a tenth of all 262 tokens are small letters.
    assert rewards[0] < 0.2
    assert np.mean(rewards[-5:]) > 0.5


def test_the_first_step_is_at_the_reference_and_moves_nothing_yet(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    _, result = learn(tiny_tokenizer, tmp_path, short(num_iterations=2), max_steps=3)
    first, second, third = result.curve
    # The samples are of the policy that is trained: every ratio is 1, and none is clipped.
    assert first["policy/clipfrac_avg"] == 0
    assert first["val/ratio"] == pytest.approx(1, abs=1e-5)
    assert first["policy/approxkl_avg"] < 1e-10
    # The policy still is the reference, to the bit, as both are read alike.
    assert first["objective/kl"] == 0
    # In the second iteration the same samples are of an older policy; the third step draws anew.
    assert second["policy/approxkl_avg"] > 1e-6
    assert second["objective/kl"] == 0
    assert third["objective/kl"] != 0
    assert third["policy/approxkl_avg"] < 1e-10


def test_equal_rewards_change_no_weight(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def same(groups: Sequence[Group]) -> list[list[float]]:
        return [[0.7] * len(group.responses) for group in groups]

    for estimator in ("grpo", "rloo", "reinforce"):
        before = weights_of(llama(tiny_tokenizer))
        config = short(advantage=AdvantageConfig(estimator))
        model, result = learn(tiny_tokenizer, tmp_path / estimator, config, reward=same)
        for name, weight in weights_of(model).items():
            assert torch.equal(weight, before[name]), (estimator, name)
        assert result.curve[-1]["frac_reward_zero_std"] == 1


def test_the_gradient_does_not_depend_on_how_a_batch_is_cut(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    models = []
    for tokens in (16, 10_000):
        config = short(
            advantage=AdvantageConfig("gae"),
            kl=KLConfig(kl_coef=0.1, placement="loss", kl_estimator="k3"),
            num_iterations=2,
        )
        model, _ = learn(
            tiny_tokenizer, tmp_path / str(tokens), config, microbatch_tokens=tokens,
            model=llama(tiny_tokenizer, dtype=torch.float64),
        )  # fmt: skip
        models.append(weights_of(model))
    for name, weight in models[0].items():
        torch.testing.assert_close(weight, models[1][name], rtol=1e-7, atol=1e-7)


# --- going on -----------------------------------------------------------------------------------


def every_state(**kl: Any) -> OnlineConfig:
    """Options under which all that is carried from turn to turn changes the result."""
    return short(
        reward=RewardConfig("contrastive", scale=ScaleConfig("absolute_mean")),
        advantage=AdvantageConfig("gae"),
        kl=KLConfig(kl_coef=0.1, target_kl=0.5, horizon=100, **kl),
        num_mini_batches=2,
        num_iterations=2,
        train=replace(STEADY, batch_size=2, max_steps=10),
    )


@pytest.mark.parametrize(
    "kl", [{}, {"placement": "loss", "kl_estimator": "k2"}], ids=["reward", "loss"]
)
def test_an_interrupted_training_goes_on_to_the_bit(
    kl: dict[str, Any], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = every_state(**kl)
    whole, result = learn(tiny_tokenizer, tmp_path / "whole", config, prompts=BASELINES)
    # The first call is for the scores of the baseline. Told to stop in the second turn, it does so
    # after the first of that turn's four steps, in the middle of an iteration.
    stop = at_call(3, lambda: signal.raise_signal(signal.SIGINT))
    folder = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 5"):
        learn(tiny_tokenizer, folder, config, prompts=BASELINES, reward=stop)
    model, resumed = learn(tiny_tokenizer, folder, config, prompts=BASELINES)
    expected = weights_of(whole)
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, expected[name]), name
    assert lines(resumed.curve) == lines(result.curve)
    kl_coefs = {line["objective/kl_coef"] for line in result.curve}
    assert len(kl_coefs) == 3  # it did adapt, in each of three turns


def test_a_scorer_that_dies_loses_nothing(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def die() -> None:
        raise ConnectionError("the server is gone")

    config = short()
    whole, _ = learn(tiny_tokenizer, tmp_path / "whole", config)
    with pytest.raises(ConnectionError, match="gone"):
        learn(tiny_tokenizer, tmp_path / "parts", config, reward=at_call(3, die))
    asked: list[int] = []

    def counting(groups: Sequence[Group]) -> Any:
        asked.append(len(groups))
        return letters(groups)

    model, _ = learn(tiny_tokenizer, tmp_path / "parts", config, reward=counting)
    assert asked == [4, 4]  # of four turns the last two
    expected = weights_of(whole)
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, expected[name]), name


def test_a_checkpoint_of_other_options_is_refused(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    stop = at_call(2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_tokenizer, tmp_path, short(), reward=stop)
    with pytest.raises(UserError, match="of another training"):
        learn(tiny_tokenizer, tmp_path, short(temperature=0.9))


# --- adapters -----------------------------------------------------------------------------------


def test_adapters_read_the_reference_without_a_copy(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = short(lora=LoraConfig(r=4), kl=KLConfig(kl_coef=0.01))
    adapted: Any = with_adapter(
        llama(tiny_tokenizer), PolicyConfig(lora=config.lora, train=config.train)
    )
    before = weights_of(adapted)
    _, result = learn(tiny_tokenizer, tmp_path, config, model=adapted)
    assert [line["objective/kl"] == 0 for line in result.curve] == [True, False, False, False]
    for name, weight in weights_of(adapted).items():
        assert torch.equal(weight, before[name]) == ("lora" not in name), name


# --- what cannot be learned from ------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_no_number_stops_before_an_update(
    value: float, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def broken(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        rewards[2][1] = value
        return rewards

    model = llama(tiny_tokenizer)
    before = weights_of(model)
    with pytest.raises(UserError, match=r"g\d: its rewards are .*stopped before an update: mend"):
        learn(tiny_tokenizer, tmp_path, short(), reward=broken, model=model)
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, before[name]), name


def test_unscored_responses_can_be_left_out_and_are_counted(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def sparing(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        for of_group in rewards:
            of_group[0] = math.nan
        return rewards

    for estimator in ("gae", "reinforce", "rloo", "grpo"):
        config = short(advantage=AdvantageConfig(estimator), unscored="leave_out")
        model, result = learn(tiny_tokenizer, tmp_path / estimator, config, reward=sparing)
        assert [line["objective/unscored"] for line in result.curve] == [4.0] * 4
        assert all(math.isfinite(line["loss"]) for line in result.curve)
        assert all(weight.isfinite().all() for weight in weights_of(model).values())


def test_without_any_reward_nothing_is_trained(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def silent(groups: Sequence[Group]) -> Any:
        return [[math.nan] * len(group.responses) for group in groups]

    with pytest.raises(UserError, match="nor any other of the rollout have a reward"):
        learn(tiny_tokenizer, tmp_path, short(unscored="leave_out"), reward=silent)


def test_a_reward_of_another_shape_is_named(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def one_each(groups: Sequence[Group]) -> Any:
        return [[1.0] for _ in groups]

    with pytest.raises(UserError, match=r"g\d: rewards of shape \(1,\) for 3 responses"):
        learn(tiny_tokenizer, tmp_path, short(), reward=one_each)


def d_of_letters(groups: Sequence[Group], pairs: Sequence[Sequence[tuple[int, int]]]) -> Any:
    """A scorer of pairs, which likes whatever stands second when both are alike."""
    differences = []
    for rewards, of_group in zip(letters(groups), pairs, strict=True):
        values = [3 * (rewards[a] - rewards[b]) ** 3 for a, b in of_group]
        differences.append(Differences.of(values, of_group))
    return differences


@pytest.mark.parametrize("estimator", ["rloo", "grpo"])
def test_a_baseline_that_cancels_is_refused(
    estimator: Any, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = short(reward=RewardConfig("contrastive"), advantage=AdvantageConfig(estimator))
    reason = (
        f"reward contrastive changes nothing with estimator {estimator}: the mean of the group, or "
        "of the others in it, is taken off; use gae or reinforce"
    )
    with pytest.raises(UserError, match=reason):
        learn(tiny_tokenizer, tmp_path, config, prompts=BASELINES)
    # d as a difference of rewards cancels as well, that of a scorer of pairs does not.
    against = replace(config, reward=RewardConfig("contrastive_difference"))
    with pytest.raises(UserError, match="contrastive_difference changes nothing"):
        learn(tiny_tokenizer, tmp_path, against, prompts=BASELINES)
    of_pairs = RewardFunctions(differences=d_of_letters)
    learn(tiny_tokenizer, tmp_path / "pairs", against, prompts=BASELINES, reward=of_pairs)
    allowed = replace(config, allow_cancelling=True)
    learn(tiny_tokenizer, tmp_path / "allowed", allowed, prompts=BASELINES)


def test_what_cancels_leads_to_the_same_policy(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    # The refusal says that nothing changes: so it is, up to rounding.
    models = []
    for kind in ("score", "contrastive"):
        config = short(
            reward=RewardConfig(kind), advantage=AdvantageConfig("rloo"), allow_cancelling=True
        )
        model, _ = learn(
            tiny_tokenizer, tmp_path / kind, config, prompts=BASELINES,
            model=llama(tiny_tokenizer, dtype=torch.float64),
        )  # fmt: skip
        models.append(weights_of(model))
    for name, weight in models[0].items():
        torch.testing.assert_close(weight, models[1][name], rtol=1e-6, atol=1e-6)


def test_a_scorer_of_pairs_teaches_by_the_rest_of_the_group(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = short(
        reward=RewardConfig("group_difference"), advantage=AdvantageConfig("reinforce"),
        kl=KLConfig(kl_coef=0.0), num_generations=8,
    )  # fmt: skip
    seen: list[float] = []

    def watched(groups: Sequence[Group], pairs: Any) -> Any:
        seen.append(float(np.mean(letters(groups))))
        return d_of_letters(groups, pairs)

    of_pairs = RewardFunctions(differences=watched)
    _, result = learn(tiny_tokenizer, tmp_path, config, reward=of_pairs, max_steps=30, lr=2e-2)
    assert np.mean(seen[-5:]) > np.mean(seen[:3]) + 0.2
    assert "objective/kl" not in result.curve[0]  # β is 0: no reference is read
    assert "objective/scores" not in result.curve[0]  # and there is no r


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_generations": 1, "advantage": AdvantageConfig("grpo")}, "give at least 2"),
        ({"num_generations": 1, "reward": RewardConfig("group_difference")}, "at least 2"),
        ({"train": replace(STEADY, max_tokens=100)}, "use max_steps or epochs"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises((UserError, ValueError), match=complaint):
        short(**options)


def test_prompts_that_do_not_fit_or_lack_a_baseline_are_named(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = short(reward=RewardConfig("contrastive"), advantage=AdvantageConfig("gae"))
    with pytest.raises(UserError, match="g0: reward contrastive needs responses"):
        learn(tiny_tokenizer, tmp_path, config)
    # 125 + 6 tokens, the model reads 128.
    long = Group("long", "x" * 125, (), source="long.jsonl:9")
    with pytest.raises(UserError, match=r"long.jsonl:9: 1 of 1 rows dropped.*none is left"):
        learn(tiny_tokenizer, tmp_path, short(), prompts=[long])
    learn(tiny_tokenizer, tmp_path, short(), prompts=[*PROMPTS, long], max_steps=1)
    assert "1 dropped" in caplog.text
    with pytest.raises(UserError, match="2 prompts cannot be cut into 3 minibatches"):
        learn(tiny_tokenizer, tmp_path, short(num_mini_batches=3), prompts=PROMPTS[:2])
