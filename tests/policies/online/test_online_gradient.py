"""What one step does, against plain rows of transformers, by hand and by TRL's own loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from online_examples import BASELINES, PROMPTS, letters, llama, reader, short
from test_trl_online import grpo_stand_in
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOTrainer

from rewarddiff.data.ledger import Ledger
from rewarddiff.forward import LogProbs
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig, RewardFunctions, group_rewards
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.online.objective import Online
from rewarddiff.policies.online.rollouts import Rollout, online_prompts
from rewarddiff.records import Group
from rewarddiff.rewards import TruncationConfig

ENDS_OFTEN = 4.5
DOUBLE = torch.float64


def started(
    tokenizer: PreTrainedTokenizerFast, config: OnlineConfig, reward: Any = letters
) -> tuple[Online, list[Rollout]]:
    """Return an objective in float64 with the rollouts of its first turn."""
    encoder = reader(tokenizer)
    model = llama(tokenizer, ends_often=ENDS_OFTEN, dtype=DOUBLE)
    prompts = online_prompts(PROMPTS, encoder, config.max_new_tokens, Ledger())
    objective = Online(LogProbs(model), encoder, RewardFunctions(reward), config)
    with torch.no_grad():
        rollouts = objective.renew(objective.module, prompts[:4], 0)
    return objective, rollouts


def apart(groups: Sequence[Group]) -> list[list[float]]:
    """r: a number that differs between most responses."""
    return [[sum(text.encode()) % 11 / 11 for text in group.responses] for group in groups]


def on_plain_rows(model: LlamaForCausalLM, rollout: Rollout, temperature: float) -> list[Tensor]:
    """log π of each response's tokens, by transformers, one row at a time."""
    prompt, *responses = rollout.tree.nodes
    rows = []
    for response in responses:
        ids = torch.tensor([[*prompt.tokens, *response.tokens]])
        logits = model.eval()(input_ids=ids).logits[0] / temperature
        logps = logits.log_softmax(-1)[len(prompt.tokens) - 1 : -1]
        rows.append(logps.gather(-1, torch.tensor(response.tokens)[:, None])[:, 0])
    return rows


def gradient(objective: Online, rollouts: Sequence[Rollout]) -> dict[str, Tensor]:
    """Return what the loop hands to the optimizer: the gradient of the sum over the count."""
    objective.module.zero_grad()
    count = sum(map(objective.count, rollouts))
    (objective.loss(objective.module, rollouts).loss / count).backward()
    gradients = {}
    for name, p in objective.module.policy.model.named_parameters():
        gradients[name] = p.grad
    return gradients


def gradient_of(model: LlamaForCausalLM, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        # transformers norms states in float32, whatever the model's type.
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_rollouts_are_read_as_they_were_drawn(
    temperature: float, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    _, rollouts = started(tiny_tokenizer, short(temperature=temperature))
    model = llama(tiny_tokenizer, ends_often=ENDS_OFTEN, dtype=DOUBLE)
    end = tiny_tokenizer.eos_token_id
    lengths = [length for rollout in rollouts for length in rollout.lengths]
    assert len(set(lengths)) > 1  # some end before the limit
    for rollout in rollouts:
        rows = on_plain_rows(model, rollout, temperature)
        torch.testing.assert_close(torch.tensor(rollout.logps, dtype=DOUBLE), torch.cat(rows))
        assert rollout.reference == rollout.logps  # nothing has been learned yet
        for tokens, ended in zip(rollout.responses, rollout.ended, strict=True):
            # One end, at the end, or the limit.
            assert tokens.count(end) == ended
            assert tokens[-1] == end if ended else len(tokens) == 6
        assert len(set(rollout.responses)) > 1


def test_reinforce_by_hand(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = short(advantage=AdvantageConfig("reinforce"), temperature=0.7)
    objective, rollouts = started(tiny_tokenizer, config)
    model = llama(tiny_tokenizer, ends_often=ENDS_OFTEN, dtype=DOUBLE)
    texts = [
        replace(group, responses=tuple(reader(tiny_tokenizer).text(r) for r in rollout.responses))
        for group, rollout in zip(PROMPTS, rollouts, strict=False)
    ]
    rewards = np.array(letters(texts))
    advantages = torch.tensor(rewards - rewards.mean())
    assert advantages.abs().max() > 0.1
    # ∇ of −Σ A_i Σ_t log π(y_it) over the number of all tokens.
    total, tokens = torch.zeros((), dtype=DOUBLE), 0
    for rollout, of_group in zip(rollouts, advantages, strict=True):
        for logps, advantage in zip(on_plain_rows(model, rollout, 0.7), of_group, strict=True):
            total = total - advantage * logps.sum()
            tokens += len(logps)
    assert_same(gradient(objective, rollouts), gradient_of(model, total / tokens))


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "bnpo", "dr_grpo"])
def test_a_step_of_grpo_is_that_of_trl(
    loss_type: Any, level: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    # The policy has moved since the rollout, so that ratios leave their bounds and the KL counts.
    config = short(
        advantage=AdvantageConfig("grpo"),
        kl=KLConfig(kl_coef=0.7, placement="loss", kl_estimator="k3"),
        epsilon_high=0.3,
        importance_sampling_level=level,
        loss_agg_mode=loss_type,
    )
    objective, rollouts = started(tiny_tokenizer, config, reward=apart)
    model = llama(tiny_tokenizer, ends_often=ENDS_OFTEN, dtype=DOUBLE)
    draw = torch.Generator().manual_seed(1)
    size = 0.05 if level == "token" else 0.1  # ratios of responses are nearer to 1
    for ours, theirs in zip(
        objective.module.policy.model.parameters(), model.parameters(), strict=True
    ):
        step = size * torch.randn(ours.shape, generator=draw, dtype=DOUBLE)
        ours.data += step
        theirs.data += step
    pad = torch.nn.utils.rnn.pad_sequence
    logps = pad([row for r in rollouts for row in on_plain_rows(model, r, 1.0)], batch_first=True)
    lengths = torch.tensor([length for rollout in rollouts for length in rollout.lengths])
    mask = torch.arange(logps.shape[1]) < lengths[:, None]

    def rows(name: str) -> Tensor:
        flat = torch.tensor([v for r in rollouts for v in getattr(r, name)], dtype=DOUBLE)
        return pad(flat.split(lengths.tolist()), batch_first=True)

    inputs = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(mask), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask, dtype=torch.long),
        "completion_mask": mask.long(), "advantages": rows("advantages")[:, 0],
        "old_per_token_logps": rows("logps"), "ref_per_token_logps": rows("reference"),
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    trainer: SimpleNamespace = grpo_stand_in(logps, level=level, loss_type=loss_type)
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    assert_same(gradient(objective, rollouts), gradient_of(model, loss))
    shown = objective.loss(objective.module, rollouts).metrics
    clipped, tokens = shown["policy/clipfrac_avg"]
    assert 0 < clipped < tokens == mask.sum()


def test_gae_with_a_head_of_zeros_pays_the_reward_at_every_token(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    # V = 0, γ = λ = 1 and no KL: A_t is the response's reward, and so is the head's goal.
    config = short(
        advantage=AdvantageConfig("gae", lam=1.0, normalize_advantages=False),
        kl=KLConfig(kl_coef=0.0),
        vf_coef=0.5,
        cliprange_value=None,
    )
    objective, rollouts = started(tiny_tokenizer, config)
    encoder = reader(tiny_tokenizer)
    squares, tokens = 0.0, 0
    for group, rollout in zip(PROMPTS, rollouts, strict=False):
        texts = tuple(encoder.text(tokens) for tokens in rollout.responses)
        (rewards,) = letters([replace(group, responses=texts)])
        expected = np.repeat(rewards, rollout.lengths)
        assert rollout.values == (0.0,) * len(expected)
        np.testing.assert_allclose(rollout.advantages, expected, atol=1e-12)
        np.testing.assert_allclose(rollout.returns, expected, atol=1e-12)
        squares += float(np.square(expected).sum())
        tokens += len(expected)
    head = objective.module.value_head
    assert head is not None
    output = objective.loss(objective.module, rollouts)
    # The value loss is ½R² a token.
    value, count = output.metrics["loss/value_avg"]
    assert (value, count) == (pytest.approx(squares / 2), tokens)
    policy, _ = output.metrics["loss/policy_avg"]
    assert output.loss.item() == pytest.approx(policy + 0.5 * value)
    # ∂/∂bias of ½·½(V − R)² is −½R at V = 0: the head is drawn to the rewards.
    output.loss.backward()
    returns = sum(sum(rollout.returns) for rollout in rollouts)
    assert head.bias.grad.item() == pytest.approx(-0.5 * returns, rel=1e-5)


def test_a_truncated_response_pays(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    def one(groups: Sequence[Any]) -> Any:
        return [[1.0] * len(group.responses) for group in groups]

    config = short(
        reward=RewardConfig(truncation=TruncationConfig(missing_eos_penalty=3.0)),
        advantage=AdvantageConfig("grpo", scale_rewards="none"),
        loss_agg_mode="seq-mean-token-mean",
    )
    _, rollouts = started(tiny_tokenizer, config, reward=one)
    ended = [rollout.ended for rollout in rollouts]
    assert any(any(group) and not all(group) for group in ended)
    for rollout in rollouts:
        rewards = np.where(rollout.ended, 1.0, -2.0)
        expected = np.repeat(rewards - rewards.mean(), rollout.lengths)
        np.testing.assert_allclose(rollout.advantages, expected, atol=1e-12)


def test_the_four_rewards_by_hand() -> None:
    # r of "b" is 1 and of "1" 0, against the stored " abc" (3/4), " 123" (0) and " a1" (1/3).
    sampled = [group.with_responses(("b", "1")) for group in BASELINES[:1]]
    functions = RewardFunctions(letters)
    stored = [replace(BASELINES[0], scores=(0.75, 0.0, 1 / 3))]

    def reward(config: RewardConfig) -> list[float]:
        (reward,) = group_rewards(config, functions, sampled, stored)
        return reward.relative.tolist()

    mean = (0.75 + 1 / 3) / 3
    assert reward(RewardConfig("score")) == [1, 0]
    assert reward(RewardConfig("contrastive")) == pytest.approx([1 - mean, -mean])
    assert reward(RewardConfig("contrastive", baseline="max")) == pytest.approx([0.25, -0.75])
    assert reward(RewardConfig("contrastive_difference")) == pytest.approx([1 - mean, -mean])
    assert reward(RewardConfig("group_difference")) == [1, -1]


def test_rollouts_come_back_from_a_checkpoint_as_they_were(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    objective, rollouts = started(tiny_tokenizer, short())
    state = json.loads(json.dumps(objective.kept(), allow_nan=False))
    other, _ = started(tiny_tokenizer, short())
    assert other.go_on(state) == rollouts
    assert other.kept() == objective.kept()
