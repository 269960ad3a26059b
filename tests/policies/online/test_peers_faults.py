"""Known faults of other trainers, each made sure of here, on a whole turn of the trainer.

How they look in code:

- the score on the pad slot after the end, and the first pad taken for the end where pad is the end
  token: TRL's PPO, `sequence_lengths = first_true_indices(responses == pad_token_id) - 1` and
  `rewards[actual_start, sequence_lengths + 1] += scores`;
- the end token looked for in the prompt as well: `first_true_indices(query_responses == eos)`;
- a logged KL that is another estimate, or over other tokens, than the one trained on;
- a mean over all rows of a batch where some are masked;
- whitening that keeps the mean: torchtune's `whiten`, which adds it with `shift_mean=True`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from online_examples import PROMPTS, letters, llama, reader, short
from test_online_gradient import (
    ENDS_OFTEN,
    assert_same,
    gradient,
    gradient_of,
    on_plain_rows,
    started,
)
from transformers import PreTrainedTokenizerFast

from rewarddiff.data.ledger import Ledger
from rewarddiff.forward import LogProbs
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.online.objective import Online
from rewarddiff.policies.online.rollouts import Rollout, online_prompts
from rewarddiff.records import Group

DOUBLE = torch.float64
NO_KL = KLConfig(kl_coef=0.0)


def turn(
    tokenizer: PreTrainedTokenizerFast,
    config: OnlineConfig,
    *,
    prompts: Sequence[Group] = PROMPTS[:4],
    reward: Any = letters,
    often: dict[int, float] | None = None,
    moved: float = 0.0,
) -> tuple[Online, list[Rollout]]:
    """Return an objective in float64 with the rollouts of a turn.

    Args:
        often: tokens that have this logit more.
        moved: how far the policy has moved from the reference, a standard deviation of weights.
    """
    model = llama(tokenizer, ends_often=ENDS_OFTEN, dtype=DOUBLE)
    head = torch.nn.Linear(24, len(tokenizer), dtype=DOUBLE)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.weight.copy_(model.get_output_embeddings().weight)
        for token, logit in (often or {}).items():
            head.bias[token] = logit
    model.set_output_embeddings(head)
    encoder = reader(tokenizer)
    items = online_prompts(prompts, encoder, config.max_new_tokens, Ledger())
    objective = Online(LogProbs(model), encoder, RewardFunctions(reward), config)
    draw = torch.Generator().manual_seed(5)
    for weight in objective.module.policy.parameters():
        weight.data += moved * torch.randn(weight.shape, generator=draw, dtype=DOUBLE)
    with torch.no_grad():
        return objective, list(objective.renew(objective.module, items, 0))


def by_response(rollout: Rollout, values: Sequence[float]) -> list[tuple[float, ...]]:
    parts = torch.tensor(values, dtype=DOUBLE).split(rollout.lengths)
    return [tuple(part.tolist()) for part in parts]


# --- where a response ends -------------------------------------------------------------------------


def test_the_score_stands_on_the_end_token_and_on_nothing_behind_it(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    # With λ = 0 and V = 0 an advantage is the token's own reward.
    config = short(advantage=AdvantageConfig("gae", lam=0.0, normalize_advantages=False), kl=NO_KL)
    _, rollouts = turn(tiny_tokenizer, config, reward=lambda groups: [[5.0] * 3 for _ in groups])
    ended = [flag for rollout in rollouts for flag in rollout.ended]
    assert any(ended)
    assert not all(ended)
    for rollout in rollouts:
        for tokens, advantages in zip(
            rollout.responses, by_response(rollout, rollout.advantages), strict=True
        ):
            assert advantages == (*[0.0] * (len(tokens) - 1), 5.0)


def test_an_end_token_in_the_prompt_ends_no_response(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ends_inside = [Group("turns", "One<eos>Two<eos>", ()), Group("behind", "Three<eos>", ())]
    config = short(advantage=AdvantageConfig("reinforce"), kl=NO_KL)
    end = tiny_tokenizer.eos_token_id
    objective, rollouts = turn(tiny_tokenizer, config, prompts=ends_inside, often={end: -30.0})
    model: Any = objective.module.policy.model
    for rollout in rollouts:
        assert end in rollout.tree.nodes[0].tokens
        assert rollout.ended == (False,) * 3
        assert rollout.lengths == [6] * 3
        rows = on_plain_rows(model, rollout, 1.0)
        torch.testing.assert_close(torch.tensor(rollout.logps, dtype=DOUBLE), torch.cat(rows))


def test_where_pad_is_the_end_token_the_end_is_still_trained_on(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    shared = copy.deepcopy(tiny_tokenizer)
    shared.pad_token = shared.eos_token
    assert shared.pad_token_id == shared.eos_token_id
    config = short(advantage=AdvantageConfig("rloo"), kl=NO_KL)
    _, apart = turn(tiny_tokenizer, config)
    _, alike = turn(shared, config)
    assert alike == apart
    lengths = [length for rollout in alike for length in rollout.lengths]
    assert min(lengths) < max(lengths)  # so rows were filled up with the end token
    for rollout in alike:
        for tokens, has_ended in zip(rollout.responses, rollout.ended, strict=True):
            assert tokens.count(shared.eos_token_id) == has_ended


def test_a_pad_that_the_policy_draws_is_a_token_like_any_other(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    pad = tiny_tokenizer.pad_token_id
    config = short(advantage=AdvantageConfig("rloo"), kl=NO_KL)
    objective, rollouts = turn(tiny_tokenizer, config, often={pad: 6.0})
    drawn = [tokens for rollout in rollouts for tokens in rollout.responses]
    within = [tokens for tokens in drawn if pad in tokens[:-1]]
    assert len(within) > 4
    model: Any = objective.module.policy.model
    for rollout in rollouts:
        rows = on_plain_rows(model, rollout, 1.0)
        torch.testing.assert_close(torch.tensor(rollout.logps, dtype=DOUBLE), torch.cat(rows))


# --- the KL ------------------------------------------------------------------------------------------


def test_the_logged_kl_in_the_reward_is_the_one_that_is_trained_on(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    beta = 0.3
    config = short(advantage=AdvantageConfig("reinforce"), kl=KLConfig(kl_coef=beta))
    objective, rollouts = turn(
        tiny_tokenizer, config, reward=lambda groups: [[0.0] * 3 for _ in groups], moved=0.05
    )
    of_responses = []
    for rollout in rollouts:
        gaps = np.subtract(rollout.logps, rollout.reference)
        of_responses += [sum(part) for part in by_response(rollout, gaps.tolist())]
    logged = objective.summary({}, {})
    assert logged["objective/kl"] == pytest.approx(np.mean(of_responses))
    assert logged["objective/kl"] != 0
    assert logged["objective/non_score_reward"] == pytest.approx(-beta * logged["objective/kl"])
    # Rewards are 0, so an advantage is −β·KL of the response less the mean of that.
    expected = [-beta * (kl - logged["objective/kl"]) for kl in of_responses]
    first = [part[0] for r in rollouts for part in by_response(r, r.advantages)]
    assert first == pytest.approx(expected)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_the_logged_kl_in_the_loss_is_the_one_that_is_trained_on(
    estimator: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    beta = 0.3
    kl = KLConfig(kl_coef=beta, placement="loss", kl_estimator=estimator)
    config = short(
        advantage=AdvantageConfig("reinforce"), kl=kl, loss_agg_mode="seq-mean-token-sum"
    )
    # Rewards are equal, so all that there is of a loss is β·KL, here a mean over responses.
    objective, rollouts = turn(
        tiny_tokenizer, config, reward=lambda groups: [[0.0] * 3 for _ in groups], moved=0.05
    )
    loss = objective.loss(objective.module, rollouts).loss.item()
    logged = objective.summary({}, {})["objective/kl"]
    assert loss / 12 == pytest.approx(beta * logged, rel=1e-6)
    assert logged > 0


def test_the_controller_follows_the_logged_kl(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    kl = KLConfig(kl_coef=0.3, target_kl=0.01, horizon=100)
    config = short(advantage=AdvantageConfig("reinforce"), kl=kl)
    objective, _ = turn(tiny_tokenizer, config, moved=0.05)
    logged = objective.summary({}, {})
    assert logged["objective/kl_coef"] == 0.3  # of this turn, which it is trained with
    error = min(max(logged["objective/kl"] / 0.01 - 1, -0.2), 0.2)
    assert error != 0
    assert objective.kept()["kl"] == pytest.approx(0.3 * (1 + error * 12 / 100))


# --- rows that are left out --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
)
def test_denominators_count_the_rows_that_are_trained_on(
    mode: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def without_first(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        for of_group in rewards:
            of_group[0] = math.nan
        return rewards

    config = short(
        advantage=AdvantageConfig("reinforce"), kl=NO_KL, unscored="leave_out", loss_agg_mode=mode
    )
    objective, rollouts = started(tiny_tokenizer, config, reward=without_first)
    model = llama(tiny_tokenizer, ends_often=ENDS_OFTEN, dtype=DOUBLE)
    texts = [
        replace(group, responses=tuple(reader(tiny_tokenizer).text(r) for r in rollout.responses))
        for group, rollout in zip(PROMPTS, rollouts, strict=False)
    ]
    rewards = np.array([of_group[1:] for of_group in letters(texts)])
    advantages = torch.tensor(rewards - rewards.mean())
    terms, lengths = [], []
    for rollout, of_group in zip(rollouts, advantages, strict=True):
        rows = on_plain_rows(model, rollout, 1.0)[1:]
        for logps, advantage in zip(rows, of_group, strict=True):
            terms.append(-advantage * logps.sum())
            lengths.append(len(logps))
    assert len(terms) == 8  # of 12
    divided = {
        "token-mean": sum(terms) / sum(lengths),
        "seq-mean-token-mean": sum(t / n for t, n in zip(terms, lengths, strict=True)) / 8,
        "seq-mean-token-sum": sum(terms) / 8,
        "seq-mean-token-sum-norm": sum(terms) / (8 * 6),
    }
    assert_same(gradient(objective, rollouts), gradient_of(model, divided[mode]))


def test_whitened_advantages_have_no_mean_over_the_tokens_that_are_trained_on(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    def without_first(groups: Sequence[Group]) -> Any:
        rewards = letters(groups)
        for of_group in rewards:
            of_group[0] = math.nan
        return rewards

    config = short(advantage=AdvantageConfig("gae"), kl=NO_KL, unscored="leave_out")
    _, rollouts = turn(tiny_tokenizer, config, reward=without_first)
    trained: list[float] = []
    for rollout in rollouts:
        left_out, *others = by_response(rollout, rollout.advantages)
        assert not any(left_out)
        trained += [value for part in others for value in part]
    assert np.mean(trained) == pytest.approx(0, abs=1e-12)
    assert np.std(trained, ddof=1) == pytest.approx(1, abs=1e-4)
