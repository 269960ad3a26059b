"""SmolLM2-135M-Instruct behind `transformers serve` is the policy that it is when it is read here."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from transformers_server import transformers_serve

from rewarddiff import models
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.endpoints.answers import Failed
from rewarddiff.endpoints.chat import Asked, Chat
from rewarddiff.endpoints.client import Patience
from rewarddiff.errors import UserError
from rewarddiff.records import Message
from rewarddiff.sampling import Here, SamplingConfig
from rewarddiff.sampling.conversations import conversations
from rewarddiff.sampling.served import Served, ServedModel
from rewarddiff.scorers.judging.texts import instruction_of, template_of
from rewarddiff.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(550)]

MODEL = "smollm2-135m-instruct"
GREEDY = SamplingConfig(max_new_tokens=12, stop=())
QUESTIONS = [
    "Name three colours.",
    "What is 2 + 2? Answer with the number alone.",
    "Grüße auf Französisch ⅞?",
]


@dataclass(frozen=True)
class Both:
    """One model, read here and behind a server."""

    here: Here
    served: Served
    url: str
    folder: Path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    try:
        installed = models.resolve(MODEL)
    except UserError as error:
        pytest.skip(f"{MODEL} is not here: {error}")
    folder = _that_draws(installed, tmp_path_factory.mktemp("models") / "smollm2")
    model, tokenizer = models.load_causal_lm(installed)
    encoder = Encoder(tokenizer, LengthConfig(max_response=1), models.context_length(installed))
    here = Here(model, encoder, models.fingerprint(installed))
    with transformers_serve(folder, folder.parent / "log") as url:
        # One at a time: this server seeds all that it is drawing with the seed that came last.
        served = Served(ServedModel(url=url, model=str(folder), concurrency=1))
        yield Both(here, served, url, folder)


def _that_draws(installed: Path, folder: Path) -> Path:
    """Return the model's folder with `do_sample`, without which this server heeds no temperature."""
    folder.mkdir()
    for file in installed.iterdir():
        (folder / file.name).symlink_to(file)
    settings = json.loads((installed / "generation_config.json").read_text())
    (folder / "generation_config.json").unlink()
    settings |= {"do_sample": True, "top_k": 0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def test_greedy_answers_are_those_of_the_model_read_here(both: Both, tmp_path: Path) -> None:
    talk = (Message("system", "You are a pirate."), Message("user", "Who are you?"))
    own = both.here.samples([*((Message("user", text),) for text in QUESTIONS), talk], GREEDY)
    with Store(tmp_path / "store.sqlite") as store:
        theirs = both.served.samples([*QUESTIONS, talk], GREEDY, store=store)
        assert theirs == own
        assert len({sample.text for sample in own}) == 4
        assert {sample.ended for sample in own} == {True, False}
        calls = both.served.usage.calls
        assert both.served.samples([*QUESTIONS, talk], GREEDY, store=store) == own
        assert both.served.usage.calls == calls


def test_what_a_judge_is_asked_is_answered_alike(both: Both) -> None:
    """Hundreds of tokens of instructions, delimiters and responses."""
    template, instruction = template_of("scores"), instruction_of("scores")
    asked = template.message("Name a colour.", "Red.", "Séven", instruction)
    config = replace(GREEDY, max_new_tokens=8)
    (theirs,) = both.served.samples([asked], config)
    assert [theirs] == both.here.samples([(Message("user", asked),)], config)
    assert theirs.text


def test_two_turns_are_the_same_conversation(both: Both) -> None:
    first = [(Message("user", "Name a colour."),)]
    later = [["Name another."]]
    theirs = conversations(both.served, first, later, GREEDY)
    assert theirs == conversations(both.here, first, later, GREEDY)


def test_a_stop_text_ends_both_at_the_same_place(both: Both) -> None:
    prompt = QUESTIONS[0]
    (whole,) = both.served.samples([prompt], GREEDY)
    stop = whole.text[8:11]
    config = replace(GREEDY, stop=(stop,))
    (theirs,) = both.served.samples([prompt], config)
    assert theirs == both.here.samples([(Message("user", prompt),)], config)[0]
    assert theirs.ended
    assert theirs.text == whole.text.split(stop)[0].rstrip()


def test_a_seed_draws_the_same_again_and_another_draws_anew(both: Both) -> None:
    warm = replace(GREEDY, temperature=1.5)
    prompt = QUESTIONS[0]
    first, again = (both.served.samples([prompt], warm)[0] for _ in range(2))
    (other,) = both.served.samples([prompt], replace(warm, seed=1))
    (beside,) = both.served.samples([QUESTIONS[1], prompt], warm)[1:]
    assert first == again == beside
    assert other != first


def test_it_gives_no_log_probabilities_and_that_is_said(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    chat = Chat(both.url, str(both.folder), key_env=None, patience=Patience())
    asked = Asked(({"role": "user", "content": "Say A or B."},), max_tokens=4, top_logprobs=5)
    with caplog.at_level(logging.WARNING):
        replies = [chat.reply(asked) for _ in range(2)]
    assert replies[0] == replies[1]
    assert replies[0].text
    assert replies[0].tokens == ()
    assert chat.notes == ["gives no log-probabilities"]
    assert [r.getMessage() for r in caplog.records if "log-prob" in r.getMessage()] == [
        f"{both.url}/v1: {both.folder} gives no log-probabilities"
    ]


def test_a_wrong_name_is_one_line(both: Both) -> None:
    wrong: Any = Served(ServedModel(url=both.url, model="nobody"))
    with pytest.raises(UserError, match=r"pinned to .*; requested 'nobody' \(prompt 1 of 1\)") as e:
        wrong.samples(["Hi"], GREEDY)
    assert isinstance(e.value.__cause__, Failed)
