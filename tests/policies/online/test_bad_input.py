"""Bad input of online training: nothing corrupts the policy, and all is counted or named."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from online_examples import BASELINES, PROMPTS, learn, letters, llama, short, weights_of
from test_online_gradient import started
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rewarddiff.differences import Differences
from rewarddiff.errors import TrainingError, UserError
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import Reward, RewardConfig, RewardFunctions
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.online.turn import Scored, turn_of
from rewarddiff.records import Group
from rewarddiff.rewards import RunningScale, ScaleConfig, TruncationConfig

ESTIMATORS = ("gae", "reinforce", "rloo", "grpo")


def assert_unchanged(model: LlamaForCausalLM, before: dict[str, torch.Tensor]) -> None:
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, before[name]), name


def with_end_at(tokenizer: PreTrainedTokenizerFast, logit: float) -> LlamaForCausalLM:
    """Draw a model whose end token has this logit more, beside others of 0 ± 1."""
    model = llama(tokenizer)
    head = torch.nn.Linear(24, len(tokenizer))
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.weight.copy_(model.get_output_embeddings().weight)
        head.bias[tokenizer.eos_token_id] = logit
    model.set_output_embeddings(head)
    return model


def in_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# --- responses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_empty_responses_are_scored_and_trained_on(
    estimator: Any, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    seen: list[str] = []

    def liking_length(groups: Sequence[Group]) -> list[list[float]]:
        seen.extend(response for group in groups for response in group.responses)
        return [[float(len(response)) for response in group.responses] for group in groups]

    model = with_end_at(tiny_tokenizer, 10.0)
    config = short(advantage=AdvantageConfig(estimator), num_generations=4)
    _, result = learn(tiny_tokenizer, tmp_path, config, reward=liking_length, model=model)
    assert seen[:16].count("") > 12  # of the first turn; then they are learned to be longer
    assert [line["completions/min_length"] for line in result.curve] == [1.0] * 4  # the end itself
    assert result.curve[0]["completions/clipped_ratio"] < 0.2
    assert all(math.isfinite(line["loss"]) for line in result.curve)
    assert all(weight.isfinite().all() for weight in weights_of(model).values())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_where_all_responses_are_truncated_a_penalty_alone_teaches_no_group(
    estimator: Any, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def same(groups: Sequence[Group]) -> list[list[float]]:
        return [[1.0] * len(group.responses) for group in groups]

    truncation = TruncationConfig(missing_eos_penalty=3.0)
    config = short(
        reward=RewardConfig(truncation=truncation),
        advantage=AdvantageConfig(estimator),
        kl=KLConfig(kl_coef=0.0),
    )
    before = weights_of(with_end_at(tiny_tokenizer, -20.0))
    model, result = learn(
        tiny_tokenizer, tmp_path, config, reward=same, model=with_end_at(tiny_tokenizer, -20.0)
    )
    assert [line["completions/clipped_ratio"] for line in result.curve] == [1.0] * 4
    assert [line["reward"] for line in result.curve] == [-2.0] * 4
    if estimator != "gae":  # its value head learns the −2
        assert_unchanged(model, before)
        assert [line["frac_reward_zero_std"] for line in result.curve] == [1.0] * 4
    assert all(weight.isfinite().all() for weight in weights_of(model).values())


def test_a_prompt_may_fill_the_context_to_the_last_token_and_no_further(
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The model reads 128 tokens: 122 bytes and 6 new tokens; one byte more is dropped.
    fits = Group("fits", "x" * 122, (), source="long.jsonl:1")
    too_long = Group("long", "x" * 123, (), source="long.jsonl:2")
    model, result = learn(tiny_tokenizer, tmp_path, short(), prompts=[fits, too_long], batch_size=1)
    assert len(result.curve) == 4
    assert "1 dropped" in caplog.text
    assert all(weight.isfinite().all() for weight in weights_of(model).values())


# --- rewards ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "complaint"),
    [
        (lambda groups: [["good"] * 3 for _ in groups], r"g\d: rewards .* are no numbers"),
        (lambda groups: [[None] * 3 for _ in groups], None),
        (lambda groups: [[1.0, [2.0], 3.0] for _ in groups], r"g\d: rewards .* are no numbers"),
        (lambda groups: [[1.0] * 4 for _ in groups], r"rewards of shape \(4,\) for 3 responses"),
        (lambda groups: [1.0 for _ in groups], r"rewards of shape \(\) for 3 responses"),
        (lambda groups: letters(groups)[1:], "3 arrays for 4 groups"),
        (lambda groups: [*letters(groups), [1.0] * 3], "5 arrays for 4 groups"),
    ],
    ids=["words", "none", "ragged", "too-many", "one-each", "too-few-groups", "too-many-groups"],
)
def test_what_is_no_reward_is_named_before_an_update(
    rewards: Any, complaint: str | None, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = llama(tiny_tokenizer)
    before = weights_of(model)
    with pytest.raises(UserError, match=complaint or "its rewards are .nan, nan, nan."):
        learn(tiny_tokenizer, tmp_path, short(), reward=rewards, model=model)
    assert_unchanged(model, before)


def test_differences_of_other_pairs_are_refused(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def turned(groups: Sequence[Group], pairs: Any) -> list[Differences]:
        return [Differences.of([1.0] * len(p), [(b, a) for a, b in p]) for p in pairs]

    config = short(reward=RewardConfig("group_difference"))
    with pytest.raises(UserError, match="differences of other pairs"):
        learn(tiny_tokenizer, tmp_path, config, reward=RewardFunctions(differences=turned))


def test_an_infinite_reward_stops_also_where_others_may_be_left_out(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    calls = itertools.count(1)

    def overflowing(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        if next(calls) == 2:
            rewards[0][0] = -math.inf
        return rewards

    # λ and β are carried from turn to turn: neither may have seen the infinite one.
    config = short(
        reward=RewardConfig(scale=ScaleConfig("std")),
        kl=KLConfig(kl_coef=0.1, target_kl=0.5, horizon=100),
        unscored="leave_out",
    )
    whole, _ = learn(tiny_tokenizer, tmp_path / "whole", config)
    with pytest.raises(UserError, match=r"g\d: its rewards are .*-inf.*mend what scores it"):
        learn(tiny_tokenizer, tmp_path / "parts", config, reward=overflowing)
    model, _ = learn(tiny_tokenizer, tmp_path / "parts", config)
    assert_unchanged(model, weights_of(whole))


def test_a_minibatch_without_a_reward_is_skipped_and_counted(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A rollout of two prompts, each a step of its own; of the prompts with "a" nothing is said.
    def partial(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        for group, of_group in zip(groups, rewards, strict=True):
            if group.prompt in ("Prompt 0:", "Prompt 3:"):
                of_group[:] = [math.nan] * len(of_group)
        return rewards

    some = [PROMPTS[i] for i in (0, 3, 1, 2)]
    config = short(
        advantage=AdvantageConfig("rloo"), num_mini_batches=4, unscored="leave_out",
    )  # fmt: skip
    model, result = learn(
        tiny_tokenizer, tmp_path, config, reward=partial, prompts=some, batch_size=1, max_steps=8
    )
    skipped = [line.get("skipped", 0.0) for line in in_log(tmp_path)]
    assert sum(skipped) == 4  # two of four in each of two turns
    assert caplog.text.count("has nothing that is trained on: it is skipped") == 4
    assert [line["objective/unscored"] for line in result.curve] == [6.0] * 8
    for line, is_skipped in zip(result.curve, skipped, strict=True):
        assert math.isnan(line["loss"]) == bool(is_skipped)
    assert all(weight.isfinite().all() for weight in weights_of(model).values())


def test_a_skipped_step_moves_nothing_and_training_goes_on_over_it(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    only = PROMPTS[1].prompt

    def of_one(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        for group, of_group in zip(groups, rewards, strict=True):
            if group.prompt != only:
                of_group[:] = [math.nan] * len(of_group)
        return rewards

    config = short(advantage=AdvantageConfig("rloo"), num_mini_batches=2, unscored="leave_out")
    options: dict[str, Any] = {
        "reward": of_one, "prompts": PROMPTS[:2], "batch_size": 1, "save_every": 1,
    }  # fmt: skip
    weights = []
    for steps in (0, 1, 2):
        model = llama(tiny_tokenizer)
        if steps:
            # With save_every, the checkpoint of the step before is what the next one goes on from.
            folder = tmp_path / str(steps)
            model, _ = learn(
                tiny_tokenizer, folder, config, model=model, max_steps=steps, **options
            )
        weights.append(weights_of(model))
    moved = [
        any(not torch.equal(a, b) for a, b in zip(before.values(), after.values(), strict=True))
        for before, after in itertools.pairwise(weights)
    ]
    assert sorted(moved) == [False, True]


def test_a_stored_response_without_a_score_is_named(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def silent_of_one(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        return [
            [math.nan] * 3 if group.id == "g2" else r
            for group, r in zip(groups, rewards, strict=True)
        ]

    config = short(reward=RewardConfig("contrastive"))
    with pytest.raises(UserError, match="g2: none of its stored responses has a score"):
        learn(tiny_tokenizer, tmp_path, config, reward=silent_of_one, prompts=BASELINES)


def test_equal_rewards_leave_a_gae_policy_where_its_value_head_has_learned_them(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    # Advantages are R − V, and the same for all tokens before anything is learned: whitened, 0. What
    # moves the body is the value loss; with vf_coef 0 nothing does.
    def same(groups: Sequence[Group]) -> list[list[float]]:
        return [[0.7] * len(group.responses) for group in groups]

    before = weights_of(llama(tiny_tokenizer))
    config = short(advantage=AdvantageConfig("gae", lam=1.0), vf_coef=0.0, kl=KLConfig(kl_coef=0.0))
    model, result = learn(tiny_tokenizer, tmp_path, config, reward=same)
    moved = max(
        float((weight - before[name]).abs().max()) for name, weight in weights_of(model).items()
    )
    assert moved == 0
    assert [line["frac_reward_zero_std"] for line in result.curve] == [1.0] * 4
    assert np.mean([line["grad_norm"] for line in result.curve]) == 0


def test_rewards_that_a_scale_makes_infinite_stop_before_an_update(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def vast(groups: Sequence[Group]) -> Any:
        return [[1e37 * reward for reward in of_group] for of_group in letters(groups)]

    model = llama(tiny_tokenizer)
    before = weights_of(model)
    config = short(reward=RewardConfig(scale=ScaleConfig(value=1e3)))
    with pytest.raises(
        UserError, match=r"g\d: its rewards are .*e\+(39|4\d).* after λ = 1e\+03; stopped before"
    ):
        learn(tiny_tokenizer, tmp_path, config, reward=vast, model=model)
    assert_unchanged(model, before)


@pytest.mark.parametrize("name", ["logps", "reference", "values"])
def test_a_policy_that_says_no_number_of_its_samples_has_diverged(
    name: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    config = short()
    _, rollouts = started(tiny_tokenizer, config)
    column = (math.nan, *getattr(rollouts[1], name)[1:])
    rollouts[1] = replace(rollouts[1], **{name: column})
    scored = [Scored(i, r, Reward(np.ones(3), np.ones(3))) for i, r in enumerate(rollouts)]
    with pytest.raises(TrainingError, match=f"g1: {name} of its samples are not finite"):
        turn_of(scored, RunningScale(), config, kl_coef=0.1)


# --- whoever scores -----------------------------------------------------------------------------


def test_a_reward_computes_in_its_own_precision(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """The policy is sampled in bf16 here; r of samples and r of stored responses are of one kind."""
    seen: list[bool] = []

    def noting(groups: Sequence[Group]) -> list[list[float]]:
        seen.append(torch.is_autocast_enabled("cpu"))
        return letters(groups)

    config = short(reward=RewardConfig("contrastive"), advantage=AdvantageConfig("gae"))
    learn(tiny_tokenizer, tmp_path, config, reward=noting, prompts=BASELINES, precision="bf16")
    assert len(seen) > 2
    assert not any(seen)


def test_an_interrupted_training_goes_on_where_a_scorer_rounds_otherwise(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    calls = itertools.count()

    def noisy(groups: Sequence[Group]) -> list[list[float]]:
        call = next(calls)
        if call == 3:
            raise UserError("the scorer is gone")
        return [[r + 1e-9 * call for r in rewards] for rewards in letters(groups)]

    config = short(reward=RewardConfig("contrastive"), advantage=AdvantageConfig("gae"))
    with pytest.raises(UserError, match="the scorer is gone"):
        learn(tiny_tokenizer, tmp_path, config, reward=noisy, prompts=BASELINES)
    _, result = learn(tiny_tokenizer, tmp_path, config, reward=noisy, prompts=BASELINES)
    assert [line["step"] for line in result.curve] == [1, 2, 3, 4]


def test_a_prompt_whose_stored_responses_have_no_score_is_left_out_where_that_is_asked_for(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def but_for_one(groups: Sequence[Group]) -> list[list[float]]:
        rewards = []
        for group, of_group in zip(groups, letters(groups), strict=True):
            is_stored = group.id == "g0" and group.responses == BASELINES[0].responses
            rewards.append([math.nan] * len(of_group) if is_stored else list(of_group))
        return rewards

    options: dict[str, Any] = {
        "reward": RewardConfig("contrastive"), "advantage": AdvantageConfig("gae"),
    }  # fmt: skip
    with pytest.raises(UserError, match="set unscored: leave_out"):
        learn(
            tiny_tokenizer, tmp_path / "a", short(**options), reward=but_for_one, prompts=BASELINES
        )
    config = short(unscored="leave_out", **options)
    _, result = learn(tiny_tokenizer, tmp_path / "b", config, reward=but_for_one, prompts=BASELINES)
    assert sum(line["objective/unscored"] for line in result.curve) > 0
    assert all(math.isfinite(line["loss"]) for line in result.curve)


def test_a_reward_of_pairs_alone_is_refused_before_anything_is_drawn(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def never(*_: Any) -> list[Differences]:
        raise AssertionError("asked")

    only_compares = RewardFunctions(differences=never)
    with pytest.raises(UserError, match="scores no response by itself"):
        learn(tiny_tokenizer, tmp_path, short(), reward=only_compares)


def test_fewer_prompts_than_a_turn_is_of_are_named(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    count = len(PROMPTS)
    learn(tiny_tokenizer, tmp_path, short(), batch_size=2 * count, max_steps=1)
    assert f"{count} prompts, and a turn is of {2 * count}" in caplog.text
