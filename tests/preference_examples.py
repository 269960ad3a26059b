"""Preference items of a tiny Llama in float64, for tests of the loop and of policies."""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.trees import group_tree

EXACT = TrainConfig(
    precision="fp32", lr=1e-3, batch_size=8, warmup=0.0, schedule="constant", max_grad_norm=0.0
)


def tiny(seed: int = 0, **more: object) -> torch.nn.Module:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, attention_dropout=0.1, **more,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64)


def made(n: int = 8, coefficient: float | None = None) -> list[PreferenceItem]:
    draw = torch.Generator().manual_seed(1)

    def text(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (1,), generator=draw))
        return torch.randint(3, 61, (length,), generator=draw).tolist()

    items = []
    for i in range(n):
        k = 2 + i % 3
        comparisons = tuple((a, b) for a in range(k) for b in range(a + 1, k))
        weights = tuple(
            0.25 + 0.5 * ((i + j) % 5) if coefficient is None else coefficient
            for j in range(len(comparisons))
        )
        tree = group_tree(text(3, 12), [text(1, 9) for _ in range(k)])
        items.append(PreferenceItem(f"g{i}", tree, comparisons, weights))
    return items
