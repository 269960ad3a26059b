"""TRL 1.16 is the referee of RLOO, GRPO, k3, the clip and the aggregation.

Its advantages are worked out inside of a training step, so its trainers make one with a tiny Llama,
untouched, on rewards that are given. Its losses are called unbound on a stand-in that holds the
settings they read, with chosen log-probabilities in place of the model's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import nanstd

from rewarddiff.losses.online import (
    aggregated,
    clipped_surrogate,
    counted,
    kl_estimate,
    sequence_log_ratio,
)
from rewarddiff.policies.online.advantages import grpo
from rewarddiff.policies.online.config import AGGREGATIONS, LossType
from rewarddiff.policies.online.estimators import AdvantageConfig, estimate

PROMPTS, GENERATIONS = 3, 4
WORDS = ["[PAD]", "[EOS]", "[UNK]", *"abcdefgh"]
REWARDS = [[0.5, -1.0, 2.25, 7.0], [3.0, None, -4.0, 0.1], [1.0, 1.0, 1.0, 1.0]]
SINGLE = {"rtol": 1e-5, "atol": 1e-5}  # TRL works in float32


def tiny_policy() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=32, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config), tokenizer


def advantages_of_trl(
    trainer_class: type[Any], config_class: type[Any], folder: Path, **settings: object
) -> Tensor:
    """Return the advantages of one step of a trainer, (PROMPTS, GENERATIONS)."""
    model, tokenizer = tiny_policy()
    handed_out: list[list[float | None]] = []

    def reward(prompts: list[str], **_: object) -> list[float | None]:
        # Rewards belong to prompts, in whatever order the trainer draws these.
        rows = [REWARDS["abc".index(prompts[i])] for i in range(0, len(prompts), GENERATIONS)]
        handed_out.extend(rows)
        return [value for row in rows for value in row]

    config = config_class(
        output_dir=str(folder), per_device_train_batch_size=PROMPTS * GENERATIONS,
        num_generations=GENERATIONS, max_completion_length=3, max_steps=1, learning_rate=0.0,
        report_to="none", save_strategy="no", logging_strategy="no", use_cpu=True, bf16=False,
        disable_tqdm=True, beta=0.0, **settings,
    )  # fmt: skip
    trainer = trainer_class(
        model=model, processing_class=tokenizer, reward_funcs=reward, args=config,
        train_dataset=Dataset.from_list([{"prompt": letter} for letter in "abc"]),
    )  # fmt: skip
    trainer.train()
    advantages = torch.tensor(list(trainer._logs["advantages"])).reshape(PROMPTS, GENERATIONS)
    # Back from the order in which prompts were drawn.
    order = [REWARDS.index(row) for row in handed_out]
    assert sorted(order) == [0, 1, 2]
    return advantages[torch.tensor(order).argsort()]


def our_advantages(config: AdvantageConfig) -> Tensor:
    rewards = torch.tensor([[math.nan if r is None else r for r in row] for row in REWARDS])
    mask = torch.ones(PROMPTS * GENERATIONS, 1, dtype=torch.bool)
    return estimate(config, rewards, mask).advantages.reshape(PROMPTS, GENERATIONS)


@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
def test_grpo_advantages_are_those_of_trl(scale_rewards: Any, tmp_path: Path) -> None:
    theirs = advantages_of_trl(GRPOTrainer, GRPOConfig, tmp_path, scale_rewards=scale_rewards)
    ours = our_advantages(AdvantageConfig("grpo", scale_rewards=scale_rewards))
    torch.testing.assert_close(ours, theirs, **SINGLE)


@pytest.mark.parametrize("bounds", [None, (-2.0, 2.0)])
@pytest.mark.parametrize("normalize", [False, True])
def test_rloo_advantages_are_those_of_trl(
    bounds: tuple[float, float] | None, normalize: bool, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"reward_clip_range": bounds, "normalize_advantages": normalize}
    theirs = advantages_of_trl(RLOOTrainer, RLOOConfig, tmp_path, **settings)
    ours = our_advantages(AdvantageConfig("rloo", **settings))
    torch.testing.assert_close(ours, theirs, **SINGLE)


def test_standard_deviations_are_those_of_trl() -> None:
    rewards = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rewards[0, 2] = torch.nan
    centred = rewards - rewards.nanmean(1, keepdim=True)
    theirs = (centred / (nanstd(rewards, dim=1)[:, None] + 1e-4)).nan_to_num(nan=0.0)
    torch.testing.assert_close(grpo(rewards), theirs)


# The loss.

ROWS, TOKENS = 5, 6


def log_probabilities() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """π in training, π of the rollout, the reference, advantages, and a mask."""
    draw = torch.Generator().manual_seed(3)
    old = -3 * torch.rand(ROWS, TOKENS, generator=draw, dtype=torch.float64) - 0.1
    logps = old + 0.4 * torch.randn(ROWS, TOKENS, generator=draw, dtype=torch.float64)
    reference = old + 0.6 * torch.randn(ROWS, TOKENS, generator=draw, dtype=torch.float64)
    advantages = torch.randn(ROWS, generator=draw, dtype=torch.float64)
    lengths = torch.tensor([6, 3, 1, 4, 5])
    return (
        logps.requires_grad_(),
        old,
        reference,
        advantages,
        torch.arange(TOKENS) < lengths[:, None],
    )


def grpo_stand_in(
    logps: Tensor, *, level: str = "token", max_completion_length: int = TOKENS, **settings: object
) -> SimpleNamespace:
    accelerator = SimpleNamespace(
        gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1, device="cpu"
    )
    zeros = torch.zeros_like(logps)
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logps, zeros, None),
        accelerator=accelerator, aux_loss_enabled=False, top_entropy_quantile=1.0,
        off_policy_mask_threshold=None, importance_sampling_level=level,
        args=SimpleNamespace(
            use_bias_correction_kl=False, delta=settings.pop("delta", None), steps_per_generation=1
        ),
        epsilon_low=0.2, epsilon_high=0.3, use_vllm=False, beta=0.7,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
        max_completion_length=max_completion_length, _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)), **settings,
    )  # fmt: skip


@pytest.mark.parametrize("delta", [None, 1.5])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_grpo_loss_is_that_of_trl(loss_type: str, level: str, delta: float | None) -> None:
    logps, old, reference, advantages, mask = log_probabilities()
    inputs = {
        "prompt_ids": torch.zeros(ROWS, 1, dtype=torch.long),
        "prompt_mask": torch.ones(ROWS, 1, dtype=torch.long),
        "completion_ids": torch.zeros(ROWS, TOKENS, dtype=torch.long),
        "completion_mask": mask.long(), "advantages": advantages, "old_per_token_logps": old,
        "ref_per_token_logps": reference, "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    trainer = grpo_stand_in(
        logps, level=level, max_completion_length=9, loss_type=loss_type, delta=delta
    )
    theirs = GRPOTrainer._compute_loss(trainer, None, inputs)

    log_ratio = logps - old
    if level == "sequence":
        log_ratio = sequence_log_ratio(log_ratio, mask)
    per_token = clipped_surrogate(
        log_ratio,
        advantages[:, None].expand_as(old),
        epsilon=0.2,
        epsilon_high=0.3,
        delta=delta,
    )
    per_token = per_token + 0.7 * kl_estimate(logps, reference, estimator="k3")
    mode = AGGREGATIONS[loss_type]
    count = counted(mask, loss_agg_mode=mode, max_tokens=9)
    ours = aggregated(per_token, mask, loss_agg_mode=mode) / count
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logps)[0] for loss in (ours, theirs)))


def test_rloo_loss_is_that_of_trl() -> None:
    # A ratio of whole responses: the same function, on sums.
    logps, old, _, advantages, mask = log_probabilities()
    old_logps = (old * mask).sum(1)
    inputs = {
        "prompt_ids": torch.zeros(ROWS, 1, dtype=torch.long),
        "prompt_mask": torch.ones(ROWS, 1, dtype=torch.long),
        "completion_ids": torch.zeros(ROWS, TOKENS, dtype=torch.long),
        "completion_mask": mask.long(), "advantages": advantages, "old_logps": old_logps,
    }  # fmt: skip
    theirs = RLOOTrainer._compute_loss(grpo_stand_in(logps), None, inputs)
    log_ratios = (logps * mask).sum(1) - old_logps
    ours = clipped_surrogate(log_ratios, advantages, epsilon=0.2, epsilon_high=0.3).mean()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logps)[0] for loss in (ours, theirs)))
