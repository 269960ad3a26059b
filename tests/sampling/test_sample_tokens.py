"""Tokens as they were drawn: from the right distribution, and cut at their end alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from online_examples import llama
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedTokenizerFast

from rewarddiff.sampling.generate import sample_tokens

ROWS = 600


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_draws_are_of_the_policy_at_the_temperature(
    temperature: float, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = llama(tiny_tokenizer)
    prompts = [(5, 6, 7), (9,)] * (ROWS // 2)
    drawn = sample_tokens(
        model, prompts, range(ROWS), temperature=temperature, max_new_tokens=1,
        ends=[tiny_tokenizer.eos_token_id], pad=tiny_tokenizer.pad_token_id,
    )  # fmt: skip
    # The mean of log π over draws of π is −H(π), with the variance of log π over their number.
    for prompt in ((5, 6, 7), (9,)):
        logits = model(torch.tensor([prompt])).logits[0, -1].detach().double()
        logps = (logits / temperature).log_softmax(-1)
        negative_entropy = (logps.exp() * logps).sum()
        variance = (logps.exp() * (logps - negative_entropy).square()).sum()
        of_prompt = [tokens[0] for p, tokens in zip(prompts, drawn, strict=True) if p == prompt]
        assert len(set(of_prompt)) > 10
        error = logps[of_prompt].mean() - negative_entropy
        assert abs(error) < 4 * math.sqrt(variance / len(of_prompt))


def test_a_draw_depends_on_nothing_beside_it(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = llama(tiny_tokenizer, ends_often=4.0)
    end, pad = tiny_tokenizer.eos_token_id, tiny_tokenizer.pad_token_id
    prompts = [(5, 6, 7), (9,), (5, 6, 7), (40, 41)]
    options = {"temperature": 1.0, "max_new_tokens": 8, "ends": [end], "pad": pad}
    together = sample_tokens(model, prompts, ["a", "b", "c", "d"], **options)
    for prompt, draw, tokens in zip(prompts, "abcd", together, strict=True):
        assert sample_tokens(model, [prompt], [draw], **options) == [tokens]
    assert together[0] != together[2]


def test_a_pad_that_was_drawn_is_a_token_and_one_behind_the_end_is_not(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    # A known fault: the first pad is taken for the end. Here the model draws its pad often.
    end, pad = tiny_tokenizer.eos_token_id, tiny_tokenizer.pad_token_id
    model = llama(tiny_tokenizer, ends_often=4.0)
    head = model.get_output_embeddings().weight
    head.data[pad] = head.data[end]
    drawn = sample_tokens(
        model, [(5, 6, 7)] * 40, range(40), temperature=1.0, max_new_tokens=8, ends=[end], pad=pad
    )
    with_pad = [tokens for tokens in drawn if pad in tokens]
    assert any(tokens[-1] != pad for tokens in with_pad)  # something follows it
    for tokens in drawn:
        assert tokens.count(end) == (tokens[-1] == end)
        assert tokens[-1] == end or len(tokens) == 8


def test_an_end_in_the_prompt_ends_no_response(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    end, pad = tiny_tokenizer.eos_token_id, tiny_tokenizer.pad_token_id
    model = llama(tiny_tokenizer)
    (tokens,) = sample_tokens(
        model, [(5, end, 7)], [0], temperature=1.0, max_new_tokens=5, ends=[end], pad=pad
    )
    assert len(tokens) == 5 or tokens[-1] == end
    assert tokens[0] != end


class CountedCasts(TorchDispatchMode):
    """Counts what autocast casts to bfloat16 of the shapes of weights."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.shapes = {p.shape for p in model.parameters() if p.dim() == 2}
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        is_cast = function is torch.ops.aten._to_copy.default
        self.count += is_cast and args[0].shape in self.shapes
        return function(*args, **(kwargs or {}))


def test_frozen_weights_are_cast_once_and_not_at_every_token(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = llama(tiny_tokenizer, ends_often=-50.0)  # none ends by itself
    end = tiny_tokenizer.eos_token_id

    def drawn(length: int) -> tuple[list[Any], int]:
        casts = CountedCasts(model)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), casts:
            tokens = sample_tokens(
                model, [(5, 6, 7)], [0], temperature=1.0, max_new_tokens=length, ends=[end], pad=0
            )
        return tokens, casts.count

    with_all, _ = drawn(8)
    model.requires_grad_(False)
    frozen, casts_of_eight = drawn(8)
    _, casts_of_two = drawn(2)
    assert frozen == with_all
    assert casts_of_eight == casts_of_two > 0
    assert not any(p.requires_grad for p in model.parameters())
