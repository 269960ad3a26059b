"""Texts that a template has written already are read as the conversations that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from rewarddiff.records import Group, Message, Rendered
from rewarddiff.rewards.stored import read_baseline
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.serve.baseline import Baseline
from rewarddiff.serve.chat import chat_of, exchange
from rewarddiff.serve.failures import Failure
from rewarddiff.serve.served import Served
from tests.real_templates import CHATS, with_chat
from tests.serve.conftest import running
from tests.serve.test_protocols import offline, posted

TURNS = (
    Message("user", "Why is the sky blue?"),
    Message("assistant", "Scattering."),
    Message("user", "And the sea?"),
)
REPLY = "It mirrors the sky."


@pytest.fixture(scope="module", params=CHATS)
def chatting(
    request, policy_folder: Path, tmp_path_factory, tiny_tokenizer: PreTrainedTokenizerFast
) -> NeuralScorer:
    """A reward model with a real template and a tokenizer that puts a BOS before every text."""
    folder = tmp_path_factory.mktemp("chat") / request.param
    tokenizer = with_chat(tiny_tokenizer, request.param)
    bos = [("<bos>", tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B:1", special_tokens=bos
    )
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return new_scorer(ScorerConfig(kind="reward", backbone=str(folder)), seed=1)


def rendered(scorer: NeuralScorer, *, reply: str | None = None) -> str:
    turns = [message.turn() for message in TURNS]
    if reply is not None:
        turns.append({"role": "assistant", "content": reply})
    text = scorer.tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=reply is None
    )
    return str(text)


def test_rendered_texts_become_the_tokens_of_the_conversation(chatting) -> None:
    chat = chat_of(chatting)
    assert chat is not None
    asked, whole = rendered(chatting), rendered(chatting, reply=REPLY)
    texts = chatting.reader.texts
    of_turns = texts.reading(texts.page(Group("g", TURNS, (REPLY,))), 0)
    end = CHATS[Path(chatting.config.backbone).name].end
    # As it was cut, as it was sampled, and as the template writes it.
    for response in (REPLY, REPLY + end, whole.removeprefix(asked)):
        prompt, closed = exchange(chat, asked, response)
        assert isinstance(prompt, Rendered)
        assert texts.reading(texts.page(Group("g", prompt, (closed,))), 0) == of_turns
    assert chat.split(whole) == (asked, whole.removeprefix(asked))
    # The tokenizer puts a BOS before plain text; before this one there is what the template wrote.
    bos = chatting.tokenizer.bos_token_id
    assert sum(part.count(bos) for part in of_turns) == ("<bos>" in asked)


def test_trainers_get_the_score_of_the_conversation(chatting) -> None:
    asked, whole = rendered(chatting), rendered(chatting, reply=REPLY)
    (expected,) = offline(chatting, TURNS, REPLY)
    with running(chatting) as client:
        body = {"query": [asked + REPLY], "prompts": [asked], "labels": [""]}
        scores = [
            posted(client, "/get_reward", body)["rewards"][0],
            posted(client, "/classify", {"input": whole})["data"][0]["probs"][0],
            posted(client, "/reward", {"prompt": asked, "response": REPLY, "label": ""}),
        ]
    assert scores == [expected] * 3


def test_other_texts_are_plain_text(reward) -> None:
    chat = chat_of(reward)
    assert exchange(chat, "Two plus two?", " 4") == ("Two plus two?", " 4")
    assert not isinstance(exchange(chat, "Two plus two?", " 4")[0], Rendered)
    assert exchange(None, "x<eos><|assistant|>", "y") == ("x<eos><|assistant|>", "y")


# -- the responses of a policy as a baseline -------------------------------------------------------


BASELINE = """\
{"prompt": "Two plus two?", "responses": ["5", "6"]}
{"prompt": [{"role": "user", "content": "Why is the sky blue?"}], "responses": ["No idea"]}
{"prompt": "Two plus two?", "responses": ["7", "5"]}
"""


@pytest.fixture
def baseline_file(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.jsonl"
    path.write_text(BASELINE)
    return path


@pytest.mark.parametrize("scorer", ["reward", "difference"])
def test_rewards_over_a_baseline_are_mean_differences(request, scorer, baseline_file) -> None:
    scorer = request.getfixturevalue(scorer)
    served = Served(scorer)
    served.baseline = Baseline(read_baseline(baseline_file), scorer, served.chat)
    group = Group("g", "Two plus two?", ("4", "5", "6", "7"))
    (d,) = scorer.differences([group], [[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]])
    # "5" was drawn twice, and counts twice: the baseline is 5, 6, 7, 5. d("5", "5") is 0.
    expected = [
        np.mean([d.mean[0], d.mean[1], d.mean[2], d.mean[0]]),
        np.mean([0.0, d.mean[3], d.mean[4], 0.0]),
    ]
    sky = Group("g", (Message("user", "Why is the sky blue?"),), ("Scattering", "No idea"))
    (d_sky,) = scorer.differences([sky], [[(0, 1)]])
    with running(served) as client:
        rows = [
            {"prompt": "Two plus two?", "responses": ["4", "5"]},
            {"prompt": [sky.prompt[0].turn()], "responses": list(sky.responses)},
        ]
        two, blue = posted(client, "/score", {"rows": rows})["scores"]
        assert two == expected
        assert blue == [d_sky.mean[0], 0.0]
        unknown = client.post("/reward", json={"prompt": "Three?", "response": "3"})
        assert unknown.status_code == 422
        assert "not in the file of --policy-baseline" in unknown.json()["error"]["message"]
        if served.chat is not None:
            rendered_prompt = "<|user|>Why is the sky blue?<eos><|assistant|>"
            asked = {"prompt": rendered_prompt, "response": "Scattering"}
            assert posted(client, "/reward", asked) == d_sky.mean[0]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "holds no rows"),
        ('{"prompt": "x"}\n', ":1: no responses"),
        ('{"prompt": "x", "responses": ["y"]}\n{"prompt": "x", "responses": []}\n', ":2: no resp"),
        ('{"prompt": "x", "responses": ["y"]}\n{"prompt": "x", \n', ":2: "),
        ('{"prompt": "x", "responses": [3]}\n', ":1: responses holds a int"),
    ],
)
def test_a_baseline_that_cannot_be_read(tmp_path, text, cause) -> None:
    from rewarddiff.errors import UserError

    path = tmp_path / "baseline.jsonl"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_baseline(path)
    assert cause in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_prompt_without_a_baseline_is_refused(baseline_file, reward) -> None:
    baseline = Baseline(read_baseline(baseline_file), reward, None)
    assert baseline.of("Two plus two?", "it").responses == ("5", "6", "7", "5")
    with pytest.raises(Failure):
        baseline.of("Three?", "it")
