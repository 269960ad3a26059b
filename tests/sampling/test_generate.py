"""Samples of two small models: a bigram model whose text is known by hand, and a random Llama."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.sampling import Sample, SamplingConfig, sample
from rewarddiff.store import Store

GREEDY = SamplingConfig(max_new_tokens=12, stop=())
WARM = SamplingConfig(max_new_tokens=12, stop=(), temperature=1.5, seed=3)
PROMPTS = [
    "Hi",
    "A much longer prompt than the others, with many words",
    "",
    "What?",
    "Two\n\nlines",
    " x",
]


def llama(hidden: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=262,
        hidden_size=hidden,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).double()


@pytest.fixture(scope="module")
def random_llama() -> LlamaForCausalLM:
    return llama(16)


@pytest.fixture(scope="module")
def bigrams(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama in which a token decides the next: A b c ↵ # d e <eos>; after T come a to d.

    Their logits are 0, 1, 2, 3.

    Attention and MLP write nothing and embeddings are unit vectors, so the state is that of the
    last token alone: after the norm √264 at the token's own place. A weight of logit/√264 there
    gives the logit.
    """
    model = llama(264)
    one = tiny_tokenizer.convert_tokens_to_ids
    chain = [
        *(one(x) for x in "Abc"),
        *tiny_tokenizer("\n#de").input_ids,
        tiny_tokenizer.eos_token_id,
    ]
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(262, 264))
        head = model.lm_head.weight.zero_()
        for now, following in pairwise(chain):
            head[following, now] = 50
        head[:, one("T")] = -50
        for logit, letter in enumerate("abcd"):
            head[one(letter), one("T")] = logit
        head /= math.sqrt(264)
    return model


@pytest.fixture
def encoder(tiny_tokenizer: PreTrainedTokenizerFast) -> Encoder:
    return Encoder(tiny_tokenizer, LengthConfig(max_response=64), context=128)


def draw(
    model: Any, encoder: Encoder, prompts: list[str], config: SamplingConfig, **more: Any
) -> list[str]:
    drawn = sample(model, encoder, prompts, config, weights=more.pop("weights", "w"), **more)
    return [one.text for one in drawn]


def changed(config: SamplingConfig, **values: Any) -> SamplingConfig:
    return SamplingConfig(**{**vars(config), **values})


def argmax_by_argmax(model: LlamaForCausalLM, encoder: Encoder, prompt: str, tokens: int) -> str:
    """Greedy decoding of one prompt without cache, padding or generation settings."""
    ids = list(encoder.prompt(prompt))
    begin = len(ids)
    with torch.no_grad():
        while len(ids) < begin + tokens and (
            len(ids) == begin or ids[-1] != encoder.tokenizer.eos_token_id
        ):
            ids.append(int(model.eval()(torch.tensor([ids])).logits[0, -1].argmax()))
    return encoder.text(ids[begin:]).strip()


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_greedy_batch_is_one_prompt_at_a_time(
    random_llama: LlamaForCausalLM, encoder: Encoder, batch_size: int
) -> None:
    alone = [argmax_by_argmax(random_llama, encoder, prompt, 12) for prompt in PROMPTS]
    assert len(set(alone)) > 3  # the model does not say the same to everything
    assert draw(random_llama, encoder, PROMPTS, changed(GREEDY, batch_size=batch_size)) == alone


def test_the_models_own_generation_settings_do_not_act(encoder: Encoder) -> None:
    # many chat models ship repetition_penalty, top_k and the like; log π of what is sampled is that
    # of the bare model
    model = llama(16)
    plain, warm = (draw(model, encoder, PROMPTS, config) for config in (GREEDY, WARM))
    model.generation_config.repetition_penalty = 3.0
    model.generation_config.top_k = 1
    model.generation_config.temperature = 0.01
    before = model.generation_config
    assert draw(model, encoder, PROMPTS, GREEDY) == plain
    assert draw(model, encoder, PROMPTS, WARM) == warm
    assert model.generation_config is before


def test_the_end_token_ends(bigrams: LlamaForCausalLM, encoder: Encoder) -> None:
    with Meter() as meter:
        # from A: b c ↵ # d e, then the end; from d: e, then the end. The end is no part of either.
        assert draw(bigrams, encoder, ["xA", "a longer prompt, d"], GREEDY, meter=meter) == [
            "bc\n#de",
            "e",
        ]
    assert meter.tokens == 6 + 1


def test_no_more_than_asked_for(bigrams: LlamaForCausalLM, encoder: Encoder) -> None:
    assert draw(bigrams, encoder, ["A"], changed(GREEDY, max_new_tokens=4)) == ["bc\n#"]


def test_stop_strings_cut(bigrams: LlamaForCausalLM, encoder: Encoder) -> None:
    with Meter() as meter:
        stopped = draw(
            bigrams, encoder, ["A", "c"], changed(GREEDY, stop=("e#", "\n#")), meter=meter
        )
    assert stopped == ["bc", ""]
    assert meter.tokens == 4 + 2  # up to the stop and no further


@pytest.mark.parametrize("batch_size", [1, 4])
def test_samples_know_whether_they_ended_by_themselves(
    bigrams: LlamaForCausalLM, encoder: Encoder, tmp_path: Path, batch_size: int
) -> None:
    # from A: b c ↵ # d e <eos>. Five tokens are asked for: A is cut after d, b before its end
    # token, c ends with the fifth, and d long before it, padded in its batch.
    config = changed(GREEDY, max_new_tokens=5, batch_size=batch_size)
    with Store(tmp_path / "store.sqlite") as store:
        for _ in range(2):  # the second time from the store
            drawn = sample(bigrams, encoder, ["A", "b", "c", "d"], config, weights="w", store=store)
            assert drawn == [
                Sample("bc\n#d", False),
                Sample("c\n#de", False),
                Sample("\n#de", True),
                Sample("e", True),
            ]
    # a stop text that is complete with the last token asked for
    (stopped,) = sample(
        bigrams, encoder, ["A"], changed(GREEDY, max_new_tokens=4, stop=("\n#",)), weights="w"
    )
    assert stopped == Sample("bc", True)


def test_a_prompt_is_cut_to_leave_room(bigrams: LlamaForCausalLM, encoder: Encoder) -> None:
    assert draw(bigrams, encoder, ["x" * 500 + "A"], GREEDY) == ["bc\n#de"]
    with pytest.raises(UserError, match="max_new_tokens"):
        draw(bigrams, encoder, ["A"], changed(GREEDY, max_new_tokens=128))


def test_temperature_draws_from_the_softmax(bigrams: LlamaForCausalLM, encoder: Encoder) -> None:
    # after T: logits 0, 1, 2, 3; at temperature 2 the odds are 1 : e^½ : e : e^1½
    config = SamplingConfig(max_new_tokens=1, stop=(), temperature=2.0, batch_size=200)
    seen = Counter(draw(bigrams, encoder, [f"{i}T" for i in range(2000)], config))
    odds = [math.exp(i / 2) for i in range(4)]
    assert seen.keys() == set("abcd")
    assert chisquare([seen[x] for x in "abcd"], [2000 * o / sum(odds) for o in odds]).pvalue > 0.01


def test_temperature_is_reproducible_by_seed(
    random_llama: LlamaForCausalLM, encoder: Encoder
) -> None:
    first = draw(random_llama, encoder, PROMPTS, WARM)
    torch.manual_seed(99)  # the state of the global generator has no part in it
    assert draw(random_llama, encoder, PROMPTS, WARM) == first
    other = draw(random_llama, encoder, PROMPTS, changed(WARM, seed=4))
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_a_sample_depends_on_its_prompt_and_seed_alone(
    random_llama: LlamaForCausalLM, encoder: Encoder
) -> None:
    # what is stored under (weights, settings, prompt) must not depend on which prompts were still
    # missing
    together = draw(random_llama, encoder, PROMPTS, WARM)
    assert [draw(random_llama, encoder, [prompt], WARM)[0] for prompt in PROMPTS] == together
    assert draw(random_llama, encoder, PROMPTS[::-1], changed(WARM, batch_size=4)) == together[::-1]


def test_sampling_leaves_the_global_generator_alone(
    random_llama: LlamaForCausalLM, encoder: Encoder
) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    draw(random_llama, encoder, PROMPTS, WARM)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("config", [GREEDY, WARM])
def test_the_store_gives_the_same_and_nothing_is_generated_twice(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: SamplingConfig
) -> None:
    model = llama(16)
    fresh = draw(model, encoder, PROMPTS, config)
    generated: list[int] = []
    generate = model.generate

    def counted(ids: torch.Tensor, **settings: Any) -> Any:
        generated.append(len(ids))
        return generate(ids, **settings)

    monkeypatch.setattr(model, "generate", counted)
    with Store(tmp_path / "store.sqlite") as store:
        assert draw(model, encoder, [*PROMPTS[:3], PROMPTS[0]], config, store=store) == [
            *fresh[:3],
            fresh[0],
        ]
        assert sum(generated) == 3  # a repeated prompt once
        assert draw(model, encoder, PROMPTS, config, store=store) == fresh
        assert sum(generated) == len(PROMPTS)  # of six, the three that were missing
        assert draw(model, encoder, PROMPTS, changed(config, batch_size=1), store=store) == fresh
        assert sum(generated) == len(PROMPTS)
        draw(model, encoder, PROMPTS, config, store=store, weights="of another model")
        draw(model, encoder, PROMPTS, changed(config, max_new_tokens=2), store=store)
        assert sum(generated) == 3 * len(PROMPTS)
