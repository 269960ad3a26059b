"""Diverse beam search against transformers 4.56.2 (kept outputs) and 5 (one group), and by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from beams_reference import CASES, END, MODELS, PAD, RRHF, digest, model, prompts, searched
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel

from rewarddiff.sampling.beams import Beam, BeamConfig, diverse_beams

REFERENCE = json.loads(Path(__file__).with_name("beams_reference.json").read_text())
SHORT = BeamConfig(max_new_tokens=8)


@pytest.fixture(scope="module", params=MODELS)
def lm(request: pytest.FixtureRequest) -> PreTrainedModel:
    return model(request.param)


def changed(config: BeamConfig, **values: Any) -> BeamConfig:
    return BeamConfig(**{**vars(config), **values})


def search(
    lm: PreTrainedModel, prompts: list[list[int]], config: BeamConfig, **more: Any
) -> list[list[Beam]]:
    return diverse_beams(lm, prompts, config, **{"end_tokens": {END}, "pad": PAD, **more})


def same(ours: list[list[Beam]], theirs: list[Any]) -> bool:
    """The same tokens; scores to five digits."""
    tokens = [[list(beam.tokens) for beam in beams] for beams in ours]
    scores = [[beam.score for beam in beams] for beams in ours]
    return tokens == [[list(found) for found, _ in beams] for beams in theirs] and all(
        one == pytest.approx([score for _, score in beams], rel=1e-5, abs=1e-5)
        for one, beams in zip(scores, theirs, strict=True)
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("case", CASES)
def test_as_transformers_4_found(name: str, case: str) -> None:
    lm, kept, settings = model(name), REFERENCE["models"][name], CASES[case]
    assert digest(lm) == kept["digest"]
    ends, pad = settings.get("ends", [END]), settings.get("pad", PAD)
    found = search(
        lm, REFERENCE["prompts"], BeamConfig(**settings["config"]), end_tokens=ends, pad=pad
    )
    assert same(found, kept["cases"][case])


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_tells_settings_apart(name: str) -> None:
    cases = REFERENCE["models"][name]["cases"]
    alike = {(a, b) for a in cases for b in cases if a < b and cases[a] == cases[b]}
    assert alike <= {("rrhf", "rrhf, temperature 0.8"), ("rrhf", "rrhf, padded with the end token"),
                     ("rrhf, padded with the end token", "rrhf, temperature 0.8")}  # fmt: skip
    assert cases["rrhf, temperature 0.8"] == cases["rrhf"]  # why temperature is no option here
    longest = RRHF["max_new_tokens"]
    ended = [len(tokens) < longest for beams in cases["rrhf"] for tokens, _ in beams]
    assert 0.2 < sum(ended) / len(ended) < 0.8


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.0])
def test_one_group_is_plain_beam_search(lm: PreTrainedModel, length_penalty: float) -> None:
    # With "never", both stop only when nothing better can come. Otherwise transformers 5 stops by
    # other rules: what it takes to be attainable leaves out candidates that have just ended, for
    # instance.
    settings = {
        **RRHF,
        "num_beam_groups": 1,
        "early_stopping": "never",
        "length_penalty": length_penalty,
    }
    asked = prompts(12, seed=2)
    for ends in ([], [END], [END, 4, 12]):
        plain = {
            k: v for k, v in settings.items() if k not in ("num_beam_groups", "diversity_penalty")
        }
        assert same(
            search(lm, asked, BeamConfig(**settings), end_tokens=ends),
            searched(lm, asked, {"config": plain, "ends": ends}),
        )


def test_any_model_with_a_cache() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "sliding_window": 4,
        "initializer_range": 0.4,
    }
    lm = MistralForCausalLM(
        MistralConfig(**sizes, **heads, eos_token_id=None, bos_token_id=None)
    ).eval()
    asked = prompts(12, seed=3)
    plain = {
        "num_beams": 4,
        "num_return_sequences": 4,
        "max_new_tokens": 12,
        "early_stopping": "never",
    }
    ours = search(lm, asked, BeamConfig(**plain, num_beam_groups=1), end_tokens=[END, 4])
    assert same(ours, searched(lm, asked, {"config": plain, "ends": [END, 4]}))


def bigrams(odds: dict[int, dict[int, float]]) -> PreTrainedModel:
    """A Llama in which a token alone decides the odds of the next.

    Each embedding is a unit vector of its own and nothing is written to it: after the norm the
    state is √16 there. A weight of logit/4 gives the logit.
    """
    lm: Any = model("llama")
    with torch.no_grad():
        for layer in lm.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        lm.model.embed_tokens.weight.zero_()
        lm.lm_head.weight.fill_(-20)
        for place, (token, following) in enumerate(odds.items()):
            lm.model.embed_tokens.weight[token, place] = 1
            for after, p in following.items():
                lm.lm_head.weight[after, place] = math.log(p) / 4
    return lm


def independent(odds: dict[int, float]) -> PreTrainedModel:
    return bigrams(dict.fromkeys((2, A, B, C, D), odds))


A, B, C, D = 20, 21, 22, 23


@pytest.mark.parametrize(
    ("penalty", "best"),
    [
        # log-probabilities: A −0.69, B −1.20, C −1.61. Each group takes the best after the
        # penalties:
        (
            0.4,
            [((A,), -0.693), ((A,), -0.693 - 0.4), ((B,), -1.204)],
        ),  # A −1.09; then B −1.20, A −1.49, C −1.61
        (
            0.6,
            [((A,), -0.693), ((B,), -1.204), ((A,), -0.693 - 0.6)],
        ),  # A −1.29; then A −1.29, C −1.61, B −1.80
        (
            1.0,
            [((A,), -0.693), ((B,), -1.204), ((C,), -1.609)],
        ),  # A −1.69; then C −1.61, A −1.69, B −2.20
    ],
)
def test_later_groups_pay_for_each_earlier_one(
    penalty: float, best: list[tuple[tuple[int, ...], float]]
) -> None:
    lm = independent({A: 0.5, B: 0.3, C: 0.2})
    config = BeamConfig(3, 3, diversity_penalty=penalty, max_new_tokens=1, num_return_sequences=3)
    (found,) = search(lm, [[2]], config)
    assert [beam.tokens for beam in found] == [tokens for tokens, _ in best]
    assert [beam.score for beam in found] == pytest.approx([score for _, score in best], abs=1e-3)


def test_the_penalty_is_paid_at_every_step_and_divided_by_length() -> None:
    # Two groups of one, penalty 0.6: the first takes A A A; the second pays less for B (−1.20) than
    # for A (−1.29).
    lm = independent({A: 0.5, B: 0.3, C: 0.2})
    (found,) = search(
        lm,
        [[2]],
        BeamConfig(2, 2, 0.6, max_new_tokens=3, num_return_sequences=2, length_penalty=2.0),
    )
    assert [beam.tokens for beam in found] == [(A, A, A), (B, B, B)]
    assert [beam.score for beam in found] == pytest.approx(
        [math.log(p) * 3 / 9 for p in (0.5, 0.3)], abs=1e-4
    )
    assert not any(beam.ended for beam in found)


def test_nobody_pays_for_an_end() -> None:
    # The first group ends at once, −0.69 over a length of 1, and goes on looking with A. The second
    # pays for A and not for the end: it ends likewise.
    lm = independent({END: 0.5, A: 0.3, B: 0.2})
    (found,) = search(lm, [[2]], BeamConfig(2, 2, num_return_sequences=2))
    assert [(beam.tokens, beam.ended) for beam in found] == [((), True), ((), True)]
    assert [beam.score for beam in found] == pytest.approx([math.log(0.5)] * 2, abs=1e-4)


@pytest.mark.parametrize(("pad", "second"), [(PAD, (B, C)), (END, (B, C, D))])
def test_unless_padding_is_the_end_token(pad: int, second: tuple[int, ...]) -> None:
    # The first group takes A and ends: it is done. The second pays for A, takes B instead, then C.
    # A first group that is done goes on as padding. Where this is the end token, the second pays
    # for it after C: −0.69 − 1 for the end against −1.20 for D. After D the end is worth it: −0.11
    # − 1 against −3.0.
    lm = bigrams({
        2: {A: 0.5, B: 0.3, C: 0.2}, A: {END: 0.9, A: 0.1}, B: {C: 0.6, END: 0.4},
        C: {END: 0.5, D: 0.3, A: 0.2}, D: {END: 0.9, A: 0.05, B: 0.05},
    })  # fmt: skip
    (found,) = search(lm, [[2]], BeamConfig(2, 2, num_return_sequences=2), pad=pad)
    assert {(beam.tokens, beam.ended) for beam in found} == {((A,), True), (second, True)}
    score = next(beam.score for beam in found if beam.tokens == (A,))
    assert score == pytest.approx(
        math.log(0.5 * 0.9) / 2, abs=1e-4
    )  # the end token counts, in the length too


def test_without_an_end_token_all_go_on_to_the_last(lm: PreTrainedModel) -> None:
    for beams in search(lm, prompts(6, seed=4), SHORT, end_tokens=()):
        assert [(len(beam.tokens), beam.ended) for beam in beams] == [(8, False)] * 4


def test_without_penalty_the_groups_are_one(lm: PreTrainedModel) -> None:
    asked = prompts(6, seed=4)
    for beams in search(lm, asked, changed(SHORT, diversity_penalty=0)):
        assert beams == [beams[0]] * 4
    alone = search(lm, asked, BeamConfig(2, 1, max_new_tokens=8, num_return_sequences=2))
    twice = search(lm, asked, BeamConfig(4, 2, 0.0, max_new_tokens=8))
    assert twice == [[beam for beam in beams for _ in range(2)] for beams in alone]


def test_the_best_comes_first(lm: PreTrainedModel) -> None:
    asked = prompts(6, seed=4)
    found = search(lm, asked, SHORT)
    for beams in found:
        assert [beam.score for beam in beams] == sorted(
            (beam.score for beam in beams), reverse=True
        )
    assert search(lm, asked, changed(SHORT, num_return_sequences=2)) == [
        beams[:2] for beams in found
    ]


def test_a_score_is_the_models_own_log_probability(lm: PreTrainedModel) -> None:
    # without penalty, read off one forward pass over prompt and response together
    ended = []
    for prompt in prompts(8, seed=4):
        for beam in search(lm, [prompt], changed(SHORT, num_beam_groups=1))[0]:
            response = [*beam.tokens, *[END] * beam.ended]
            with torch.no_grad():
                logits = lm(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
            each = logits.log_softmax(-1)[range(len(response)), response]
            assert beam.score == pytest.approx(each.mean().item(), rel=1e-4)
            ended.append(beam.ended)
    assert any(ended)
    assert not all(ended)


def test_a_prompt_does_not_depend_on_its_batch() -> None:
    asked = prompts(10, seed=6)
    assert len(asked[0]) == 1
    for name in MODELS:
        lm = model(name).double()
        for config in (SHORT, BeamConfig(6, 3, max_new_tokens=12, num_return_sequences=6)):
            together = search(lm, asked, config)
            alone = [search(lm, [prompt], config)[0] for prompt in asked]
            assert same(
                together, [[(beam.tokens, beam.score) for beam in beams] for beams in alone]
            )
            assert search(lm, asked[::-1], config) == together[::-1]


def test_every_token_is_read_once(lm: PreTrainedModel) -> None:
    read = []
    hook = lm.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    try:
        search(lm, [[2, 3], [2, 3, 4]], SHORT, end_tokens=())
    finally:
        hook.remove()
    assert read == [
        (2, 3),
        *[(2 * 4, 1)] * 7,
    ]  # a prompt once for all its beams; the last token not at all


def test_dropout_and_gradients_are_off() -> None:
    lm = model("gpt2").train()
    lm.register_forward_hook(lambda _, args, output: needed.append(output.logits.requires_grad))
    needed: list[bool] = []
    found = search(lm, prompts(4, seed=7), SHORT)
    assert not any(needed)
    assert not lm.training
    assert found == search(lm, prompts(4, seed=7), SHORT)


def test_nothing_asked() -> None:
    lm = model("llama")
    assert search(lm, [], SHORT) == []
    with pytest.raises(ValueError, match="no tokens"):
        search(lm, [[3], []], SHORT)


def test_not_a_number_is_an_error() -> None:
    lm: Any = model("llama")
    lm.model.embed_tokens.weight.data[5] = math.nan
    with pytest.raises(ValueError, match="NaN for prompt 1"):
        search(lm, [[3, 4], [3, 5]], SHORT)


@pytest.mark.parametrize(
    "values",
    [
        {"num_beams": 0},
        {"num_beams": 5, "num_beam_groups": 2},
        {"num_beams": 3, "num_beam_groups": 3},  # four are to be returned
        {"max_new_tokens": 0},
        {"diversity_penalty": -0.1},
        {"diversity_penalty": math.inf},
        {"length_penalty": math.nan},
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"should be|num_return_sequences"):
        BeamConfig(**values)
