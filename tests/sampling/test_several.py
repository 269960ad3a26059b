"""Several responses to a prompt: rejection by its own probabilities, beams and draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.sampling import Here, SamplingConfig, diverse
from rewarddiff.sampling.several import Beams, Draw, Rejection, Temperature, accept, several
from rewarddiff.store import Store


def test_a_candidate_is_accepted_with_its_probability() -> None:
    # r = (−β·ln 2, 0): the first is accepted in the first round with probability e^{−ln 2} = ½, and
    # then comes first.
    first = [
        accept([-0.7 * 0.6931471805599453, 0.0], 1, beta=0.7, seed=seed)[0] == 0
        for seed in range(4000)
    ]
    assert sum(first) / 4000 == pytest.approx(0.5, abs=0.03)  # four standard errors: 0.032


def test_small_beta_takes_the_best_and_a_large_one_any() -> None:
    rewards = [0.3, 2.0, -1.0, 1.0, 0.9]
    assert sorted(accept(rewards, 2, beta=1e-6)) == [1, 3]
    assert accept(rewards, 5, beta=1e-6) == [1, 3, 4, 0, 2]
    assert accept(rewards, 5, beta=1e9) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rewards", "k", "beta", "message"),
    [
        ([1.0], 2, 0.5, "2 of candidates"),
        ([1.0, float("nan")], 1, 0.5, "finite"),
        ([1.0, 2.0], 1, 0.0, "beta"),
    ],
)
def test_what_is_refused(rewards: list[float], k: int, beta: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        accept(rewards, k, beta=beta)


@pytest.mark.parametrize(
    ("draw", "count"),
    [
        (Beams(max_new_tokens=5), 4),
        (Temperature(k=3, max_new_tokens=5), 3),
        (Rejection(k=2, candidates=6, max_new_tokens=5), 6),
    ],
)
def test_each_prompt_has_its_own_and_they_are_kept(
    draw: Draw,
    count: int,
    policy_folder: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    encoder = Encoder(tiny_tokenizer, LengthConfig(max_prompt=16, max_response=1), 64)
    prompts, config = ["Say it", "And now?", "x"], SamplingConfig(batch_size=2, stop=())
    with Store(tmp_path / "store.sqlite") as store:
        engine = Here(model, encoder, "w")
        found = several(engine, prompts, draw, config, store=store)
        assert [len(own) for own in found] == [count] * 3
        assert len({sample.text for own in found for sample in own}) > count
        alone = several(engine, prompts[1:2], draw, config)
        assert alone == found[1:2]
        monkeypatch.setattr(diverse, "diverse_beams", lambda *_, **__: pytest.fail("drawn again"))
        monkeypatch.setattr(
            "rewarddiff.sampling.generate._continue", lambda *_: pytest.fail("drawn again")
        )
        assert several(engine, prompts, draw, config, store=store) == found


def test_beams_stop_at_the_next_turn(
    policy_folder: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    encoder = Encoder(tiny_tokenizer, LengthConfig(max_response=1), 64)
    engine = Here(model, encoder, "w")
    draw = Beams(max_new_tokens=8)
    whole = several(engine, ["Say it"], draw, SamplingConfig(stop=()))[0]
    stop = whole[0].text[2]
    (cut,) = several(engine, ["Say it"], draw, SamplingConfig(stop=(stop,)))
    assert cut[0].text == whole[0].text.split(stop)[0].rstrip()
    assert cut[0].ended
