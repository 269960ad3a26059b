"""Pairs of texts, and tiny models in float64 for TRL's trainers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)
from trl_settings import WITHOUT_CHECKPOINTS

TEXTS = [
    (" Name a colour. ", " Red, or perhaps green.", " No"),
    ("2 + 2?\n\nAnswer:", " 4", " I would say it is five."),
    ("?", "Yes!\n", "Yes! "),
    ("Say hello.", " Hello there.", " Why?"),
]
COEFFICIENTS = (2.0, 0.0, 0.25, 1.5)
SETTINGS = {
    "per_device_train_batch_size": len(TEXTS),
    "per_device_eval_batch_size": len(TEXTS),
    "max_steps": 3,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1e9,
    "weight_decay": 0.0,
    **WITHOUT_CHECKPOINTS,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
}

Make = Callable[..., Any]


def rows(coefficients: tuple[float, ...] | None = COEFFICIENTS) -> list[dict[str, Any]]:
    """Four pairs in TRL's columns."""
    columns: list[dict[str, Any]] = []
    for place, (prompt, chosen, rejected) in enumerate(TEXTS):
        row: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        if coefficients is not None:
            row["coefficient"] = coefficients[place]
        columns.append(row)
    return columns


def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=262,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,  # far from uniform, so that the pairs differ
        attention_dropout=0.0,
        pad_token_id=258,
        num_labels=1,
    )


def policy(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(config()).double()


def reward_model() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    return LlamaForSequenceClassification(config()).double()


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def logged(trainer: Any, key: str) -> list[float]:
    return [line[key] for line in trainer.state.log_history if key in line]
