"""Both engines are one interface: what holds of a policy holds of it here and behind a server."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answering_server import answering

from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.records import Message
from rewarddiff.sampling import Engine, SamplingConfig, read_here
from rewarddiff.sampling.conversations import conversations
from rewarddiff.sampling.served import Served, ServedModel
from rewarddiff.store import Store

WARM = SamplingConfig(max_new_tokens=6, temperature=1.0, stop=(), batch_size=4)
PROMPTS = [(Message("user", f"Question {i}"),) for i in range(9)]


@pytest.fixture(params=["here", "served"])
def engine(request: pytest.FixtureRequest, policy_folder: Path) -> Iterator[Engine]:
    if request.param == "here":
        yield read_here(policy_folder)
        return

    def drawn(body: dict[str, Any]) -> str:
        """An answer that hangs on the whole conversation and the seed, as a model's does."""
        return random.Random(f"{body['messages']}{body.get('seed')}").choice("abcdefgh") * 3

    with answering(drawn) as server:
        yield Served(ServedModel(url=server.url, model="tiny"))


def test_order_and_batches_change_nothing(engine: Engine) -> None:
    whole = engine.samples(PROMPTS, WARM)
    assert len({sample.text for sample in whole}) > 3
    assert engine.samples(PROMPTS[::-1], replace(WARM, batch_size=1))[::-1] == whole
    assert [engine.samples([prompt], WARM)[0] for prompt in PROMPTS] == whole
    assert engine.samples(PROMPTS, replace(WARM, seed=1)) != whole


def test_what_is_kept_is_not_drawn_again(engine: Engine, tmp_path: Path) -> None:
    meter = Meter()
    with Store(tmp_path / "store.sqlite") as store:
        first = engine.samples(PROMPTS, WARM, store=store, meter=meter)
        drawn = meter.tokens
        assert drawn > 0
        assert engine.samples(PROMPTS[::2], WARM, store=store, meter=meter) == first[::2]
        assert meter.tokens == drawn


def test_the_second_turn_is_asked_after_the_first_answer(engine: Engine) -> None:
    """By hand: the same as asking the second turn alone behind the first and its answer."""
    one = (Message("user", "One?"),)
    (first, second), (only,) = conversations(engine, [one, one], [["Two?"], []], WARM)
    assert first == only
    talk = (Message("user", "One?"), Message("assistant", first.text), Message("user", "Two?"))
    assert engine.samples([talk], WARM) == [second]


def test_no_questions_have_no_answers(engine: Engine) -> None:
    assert engine.samples([], WARM) == []
    assert conversations(engine, [], [], WARM) == []


def test_a_prompt_that_the_template_refuses_is_named(
    policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = read_here(policy_folder)
    template = engine.encoder.tokenizer.chat_template
    refuses = "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    monkeypatch.setattr(engine.encoder.tokenizer, "chat_template", refuses + template)
    prompts = [PROMPTS[0], (Message("tool", "42"),)]
    with pytest.raises(
        UserError, match=r"^pairs.jsonl:8: the chat template refuses .*no tools here"
    ):
        engine.samples(prompts, WARM, rows=["pairs.jsonl:3", "pairs.jsonl:8"])
