"""Rows that grow: the same responses as transformers' own generation, and every token read once."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
import transformers
from transformers import GenerationConfig

from rewarddiff.sampling.generate import _drawn, sample_tokens
from rewarddiff.sampling.rows import keeps_cache

END, PAD = 1, 0
PROMPTS = [(5, 6, 7, 8, 9, 10, 11), (9,), (5, 6, 7, 8, 9, 10, 11), (40, 41, 42), (9,)]
SIZES = {
    "vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
    "initializer_range": 0.5,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "Llama": SIZES,
    # Positions that are learned: a row that is filled up on the left has to count from its start.
    "GPT2": {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.5},
    # Windows shorter than a prompt, in every other layer.
    "Gemma2": {**SIZES, "head_dim": 8, "sliding_window": 4},
    # Convolutions among the layers, whose states are cached too.
    "Lfm2": {**SIZES, "full_attn_idxs": [1], "block_auto_adjust_ff_dim": False},
    # No cache of the usual kind: transformers' generation draws.
    "Mamba": {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
}


def drawn_from(kind: str) -> Any:
    """Return a model of the kind with weights by chance."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        bos_token_id=2, eos_token_id=END, pad_token_id=PAD, **OWN[kind]
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def greedy(model: Any, prompt: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return what transformers generates behind one prompt alone."""
    model.generation_config = GenerationConfig()
    ids = torch.tensor([prompt])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return tuple(output[0, len(prompt) :].tolist())


def cold(model: Any, count: int) -> list[tuple[int, ...]]:
    """Return draws at a temperature at which nothing but the most probable token is drawn."""
    return sample_tokens(
        model, PROMPTS, range(len(PROMPTS)), temperature=1e-6, max_new_tokens=count, ends=[END],
        pad=PAD,
    )  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_cold_draws_are_what_transformers_generates_for_each_prompt_alone(kind: str) -> None:
    model = drawn_from(kind)
    assert keeps_cache(model) == (kind != "Mamba")
    responses = cold(model, 12)
    assert responses == [greedy(model, prompt, 12) for prompt in PROMPTS]
    assert len(set(responses)) == 3


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_an_adapter_is_read_as_its_model_is(kind: str) -> None:
    model = drawn_from(kind)
    plain = cold(model, 12)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    # A fresh adapter changes nothing.
    assert cold(peft.get_peft_model(model, config), 12) == plain


def test_every_token_is_read_once_and_none_behind_the_end() -> None:
    model = drawn_from("Llama")
    sizes: list[int] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        sizes.append(kwargs["input_ids"].numel())

    model.register_forward_pre_hook(note, with_kwargs=True)
    responses = sample_tokens(
        model, PROMPTS, range(5), temperature=3.0, max_new_tokens=200, ends=range(30), pad=PAD
    )
    assert len(set(map(len, responses))) > 1
    # Three prompts, filled up to the longest, and of a response all but its last token.
    assert sizes[0] == 3 * 7
    assert sum(sizes[1:]) == sum(len(response) - 1 for response in responses)


def test_a_draw_is_the_token_at_which_the_distribution_passes_the_number() -> None:
    # Probabilities ¼, 0, ½, ¼: sums ¼, ¼, ¾, 1. The second token is never drawn.
    logits = torch.tensor([0.25, 0.0, 0.5, 0.25]).log()
    for uniform, token in [(0, 0), (0.24, 0), (0.26, 2), (0.74, 2), (0.76, 3), (1 - 2**-53, 3)]:
        assert _drawn(logits[None], torch.tensor([uniform], dtype=torch.float64)).item() == token
