"""Models of real sizes with drawn weights: nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

POSITIONS = 8192


@dataclass(frozen=True)
class Shape:
    """A Llama, how it is trained, and how much of it is measured.

    Attributes:
        bf16_weights: weights, gradients and moments in bf16. Else float32 under bf16 autocast, which
            takes 16 bytes a weight: an 8B model does not fit on one GPU so.
        batch: pairs in an optimizer step.
        microbatch_tokens: what this project reads at once.
        rows: pairs that TRL reads at once, at most; halved until they fit. Of the 8B model, activations
            take about 5 MB a token beside 64 GB of weights, gradients and moments.
        warm: steps that are not counted: kernels are compiled for the first length, then for any.
        steps: steps that are counted.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    tied: bool
    bf16_weights: bool
    batch: int
    microbatch_tokens: int
    rows: int
    warm: int
    steps: int

    @property
    def lists(self) -> int:
        """Prompts with six responses in an optimizer step: they have about five times the tokens."""
        return max(1, self.batch // 4)

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            tie_word_embeddings=self.tied,
            max_position_embeddings=POSITIONS,
            rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )

    @property
    def body(self) -> int:
        """Weights that every token is multiplied by."""
        head = self.hidden_size // self.num_attention_heads
        queries_and_output = 2 * self.hidden_size**2
        keys_and_values = 2 * self.hidden_size * head * self.num_key_value_heads
        mlp = 3 * self.hidden_size * self.intermediate_size
        return self.num_hidden_layers * (queries_and_output + keys_and_values + mlp)

    @property
    def head(self) -> int:
        """Weights that every state is multiplied by where a token is predicted."""
        return self.vocab_size * self.hidden_size

    @property
    def precision(self) -> str:
        """What the loop is told: bf16 is autocast over float32 weights."""
        return "fp32" if self.bf16_weights else "bf16"


SHAPES = {
    # SmolLM2-135M
    "135m": Shape(49_152, 576, 1_536, 30, 9, 3, True, False, 64, 16_384, 32, 3, 10),
    # Llama-3.2-1B
    "1b": Shape(128_256, 2_048, 8_192, 16, 32, 8, True, False, 64, 16_384, 16, 3, 10),
    # Llama-3.1-8B
    "8b": Shape(128_256, 4_096, 14_336, 32, 32, 8, False, True, 64, 8_192, 4, 2, 4),
    # For a CPU, to see that all of it runs.
    "tiny": Shape(512, 32, 64, 2, 4, 2, True, False, 4, 512, 4, 1, 2),
}


def causal_lm(shape: Shape, device: str) -> Any:
    return _drawn(AutoModelForCausalLM, shape, device)


def classifier(shape: Shape, device: str) -> Any:
    """Return a reward model as transformers has it: a body and a linear head of one number."""
    return _drawn(AutoModelForSequenceClassification, shape, device, num_labels=1)


def _drawn(kind: Any, shape: Shape, device: str, **more: Any) -> Any:
    torch.manual_seed(0)
    config = shape.config
    config.update(more)
    dtype = torch.bfloat16 if shape.bf16_weights else torch.float32
    with torch.device(device):
        return kind.from_config(config, dtype=dtype)
