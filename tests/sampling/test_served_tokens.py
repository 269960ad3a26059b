"""A policy behind vLLM's server: what it is asked, with words and with tokens, and what its answers come to.

The server answers as vLLM 0.33 does (vllm/entrypoints/openai/completion/protocol.py and serving.py); tokens come from
the stand-in of `vllm_double`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import vllm_double
from answering_server import AnsweringServer, answering, completion

from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.records import Message
from rewarddiff.sampling import Sample, SamplingConfig, read_here, served
from rewarddiff.sampling.served import Served, ServedModel
from rewarddiff.sampling.served_tokens import ServedTokens, served_engine
from rewarddiff.sampling.several import Beams, several
from rewarddiff.store import Store

GREEDY = SamplingConfig(max_new_tokens=8, stop=())
WARM = replace(GREEDY, temperature=1.0, seed=3)
TALK = (Message("system", "Be short."), Message("user", "Hi"))
PROMPTS = ["Hi", "And now?", TALK]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FIRST_WAIT", 0.001)


def engine(server: AnsweringServer, folder: Path | None, **options: Any) -> Served:
    template = None if folder is None else str(folder)
    return served_engine(
        ServedModel(url=server.url, model="m", engine="vllm", template=template, **options)
    )


class Answers:
    """Answers /v1/completions with a model of a folder, as vLLM's server does."""

    def __init__(self, folder: Path) -> None:
        self.llm = vllm_double.LLM(str(folder), dtype="float32")

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        names = vllm_double.SamplingParams.__dataclass_fields__.keys() & body.keys()
        params = vllm_double.SamplingParams(**{name: body[name] for name in names})
        prompt = {"prompt_token_ids": body["prompt"]}
        (request,) = self.llm.generate([prompt], [params], use_tqdm=False)
        return answer(**vars(request.outputs[0]))


def answer(**choice: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return {"object": "text_completion", "choices": [choice], "usage": usage}


@pytest.mark.parametrize(
    "config", [GREEDY, replace(GREEDY, stop=("e", "a"))], ids=["whole", "stops"]
)
def test_what_it_answers_is_what_the_model_answers_here(
    policy_folder: Path, config: SamplingConfig
) -> None:
    with answering(Answers(policy_folder)) as server:
        drawn = engine(server, policy_folder).samples(PROMPTS, config)
    assert drawn == read_here(policy_folder).samples(PROMPTS, config)


def test_tokens_are_sent_and_the_servers_own_settings_are_set_aside(policy_folder: Path) -> None:
    encoder = read_here(policy_folder).encoder
    stops = ("a", "b", "c", "d", "e")
    with answering(Answers(policy_folder)) as server:
        engine(server, policy_folder).samples(["Hi", TALK], replace(WARM, stop=stops))
    of_text = {tuple(body["prompt"]): body for body in server.posted}
    assert of_text.keys() == {encoder.prompt("Hi"), encoder.prompt(TALK)}
    body = of_text[encoder.prompt("Hi")]
    assert body.pop("prompt")
    assert 0 <= body.pop("seed") < 2**63  # a number beyond is refused
    assert body == {
        "model": "m", "max_tokens": 8, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "stop": ["a", "b", "c", "d"],  # its server takes four
        "stop_token_ids": encoder.ends(["Hi", TALK]), "ignore_eos": True, "skip_special_tokens": False,
        "return_token_ids": True,
    }  # fmt: skip


def test_the_same_seeds_as_when_vllm_reads_it_here(
    policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm_double.installed(monkeypatch)
    from rewarddiff.sampling.options import VLLM

    with answering(Answers(policy_folder)) as server:
        theirs = engine(server, policy_folder).samples(PROMPTS, WARM)
    assert theirs == read_here(policy_folder, VLLM()).samples(PROMPTS, WARM)


@pytest.mark.parametrize(
    ("tokens", "finish", "expected"),
    [
        ([72, 105], "length", Sample("ih", False)),
        ([72, 105, 257], "stop", Sample("ih", True)),  # 257: the end token
        ([257], "stop", Sample("", True)),
    ],
)
def test_what_an_answer_comes_to(
    policy_folder: Path, tokens: list[int], finish: str, expected: Sample
) -> None:
    encoder = read_here(policy_folder).encoder
    assert encoder.tokenizer.eos_token_id == 257
    expected = replace(expected, text=encoder.text([token for token in tokens if token != 257]))
    given = answer(text="unheeded", token_ids=tokens, finish_reason=finish)
    meter = Meter()
    with answering(lambda body: given) as server:
        asking = engine(server, policy_folder)
        assert asking.samples(["Hi"], GREEDY, meter=meter) == [expected]
    assert meter.tokens == len([token for token in tokens if token != 257])
    assert asking.usage.calls == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer(text="x", finish_reason="stop"), "no token_ids, which vLLM gives where"),
        (answer(text="x", token_ids=["72"], finish_reason="stop"), "no token_ids"),
        (answer(text="", token_ids=[72], finish_reason="abort"), r"given up \(abort\)"),
        (completion("hello"), "no token_ids"),
        ({"choices": []}, "no choices, or not one"),
    ],
)
def test_what_is_no_answer(policy_folder: Path, given: Any, message: str) -> None:
    with answering(lambda body: given) as server, pytest.raises(UserError, match=message) as error:
        engine(server, policy_folder, attempts=1).samples(["Hi"], GREEDY, rows=["pairs.jsonl:4"])
    assert "(pairs.jsonl:4)" in str(error.value)


def test_what_was_answered_is_never_asked_again(policy_folder: Path, tmp_path: Path) -> None:
    with answering(Answers(policy_folder)) as server, Store(tmp_path / "s.sqlite") as store:
        first = engine(server, policy_folder).samples([*PROMPTS, "Hi"], WARM, store=store)
        assert len(server.posted) == 3
        asking = engine(server, policy_folder, concurrency=1)
        assert asking.samples(PROMPTS, WARM, store=store) == first[:3]
        assert (len(server.posted), asking.usage.kept) == (3, 3)
        # Words and tokens are asked about apart, and so is a server of any other kind.
        server.rule = lambda body: "said"
        engine(server, None).samples(["Hi"], WARM, store=store)
        Served(ServedModel(url=server.url, model="m")).samples(["Hi"], WARM, store=store)
        assert len(server.posted) == 5


def test_without_a_template_it_is_asked_by_chat_with_vllms_settings() -> None:
    with answering(lambda body: "said") as server:
        asking = engine(server, None)
        assert not isinstance(asking, ServedTokens)
        assert asking.samples(["Hi"], GREEDY) == [Sample("said", True)]
    (body,) = server.posted
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert (body["top_p"], body["top_k"], body["min_p"]) == (1.0, 0, 0.0)
    assert (body["repetition_penalty"], body["frequency_penalty"]) == (1.0, 0.0)


def test_what_is_refused(policy_folder: Path) -> None:
    with pytest.raises(ValueError, match="template is for engine: vllm"):
        ServedModel(url="http://localhost:1", model="m", template=str(policy_folder))
    with answering(lambda body: "said") as server:
        for folder in (None, policy_folder):
            asking = engine(server, folder)
            with pytest.raises(UserError, match=r"temperature is 3\.0, and vLLM draws at 0 or"):
                asking.samples(["Hi"], replace(GREEDY, temperature=3.0))
            with pytest.raises(UserError, match="searches no diverse beams"):
                several(asking, ["Hi"], Beams(), GREEDY)
    assert server.posted == []
