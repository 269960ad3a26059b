"""A client of each protocol, written from what the trainers send, against a real server."""

from __future__ import annotations

from typing import Any

import httpx2
import numpy as np
import pytest

from rewarddiff.designs import DesignConfig
from rewarddiff.records import Group, Message, Prompt
from rewarddiff.scorers.neural.scorer import NeuralScorer, RewardModel
from rewarddiff.scorers.ranking import rank
from tests.serve.conftest import FINGERPRINT, running

QUESTION = (Message("user", "Why is the sky blue?"),)
TURNS = [{"role": "user", "content": "Why is the sky blue?"}]
RENDERED = "<|user|>Why is the sky blue?<eos><|assistant|>"
"""The same, by the tiny model's template."""


def offline(scorer: NeuralScorer, prompt: Prompt, *responses: str) -> list[float]:
    """The numbers of offline scoring, each response read by itself."""
    assert isinstance(scorer, RewardModel)
    groups = [Group("g", prompt, (response,)) for response in responses]
    return [float(scores[0]) for scores in scorer.rewards(groups)]


def posted(client: httpx2.Client, route: str, body: Any) -> Any:
    response = client.post(route, json=body)
    assert response.status_code == 200, response.text
    return response.json()


# -- our own ---------------------------------------------------------------------------------------


def test_score_gives_the_numbers_of_offline_scoring(client, reward) -> None:
    rows = [
        {"prompt": "Two plus two?", "responses": ["4", "five", ""]},
        {"prompt": TURNS, "responses": ["Rayleigh scattering."]},
        {"prompt": "Nothing to say", "responses": []},
    ]
    answer = posted(client, "/score", {"rows": rows})
    expected = [
        offline(reward, "Two plus two?", "4", "five", ""),
        offline(reward, QUESTION, "Rayleigh scattering."),
    ]
    assert answer["scores"][0] == expected[0]
    assert answer["scores"][1] == expected[1]
    assert answer["scores"][2] == []
    assert len(set(answer["scores"][0])) == 3
    assert answer["fingerprint"] == FINGERPRINT


@pytest.mark.parametrize(("prompt", "response"), [("Two?", ""), ("", "4"), ("", "")])
def test_what_is_empty_gets_the_number_of_the_text_that_it_makes(
    client, reward, prompt: str, response: str
) -> None:
    expected = offline(reward, prompt, response)
    rows = [{"prompt": prompt, "responses": [response]}]
    assert posted(client, "/score", {"rows": rows})["scores"] == [expected]
    asked = {"query": [prompt + response], "prompts": [prompt]}
    assert posted(client, "/get_reward", asked)["rewards"] == expected
    sample = {"prompt": prompt, "response": response}
    assert posted(client, "/reward", sample) == expected[0]


def test_compare_is_rank(client, reward, difference) -> None:
    responses = ("4", "five", "2 + 2 = 4", "no idea")
    group = Group("responses", "Two plus two?", responses)
    body = {"prompt": group.prompt, "responses": list(responses)}
    with running(difference) as of_differences:
        for design in ({"mode": "both"}, {"mode": "budget", "budget": 4}, {"mode": "anchor"}):
            answer = posted(of_differences, "/compare", {**body, "design": design})
            (ranking,) = rank(difference, [group], DesignConfig(**design))
            assert answer["rewards"] == ranking.scores.tolist()
            pairs = [(compared["a"], compared["b"]) for compared in answer["comparisons"]]
            assert tuple(pairs) == ranking.pairs
            d = [compared["difference"] for compared in answer["comparisons"]]
            assert d == ranking.differences.tolist()
            assert answer["readings"] == ranking.readings
    # Of a reward model the potentials are its rewards less their mean.
    rewards = np.array(offline(reward, group.prompt, *responses))
    answer = posted(client, "/compare", body)
    assert answer["rewards"] == pytest.approx((rewards - rewards.mean()).tolist(), abs=1e-9)


def test_compare_with_anchors_is_the_mean_difference_to_them(client, reward) -> None:
    body = {"prompt": "Two plus two?", "responses": ["4", "five"], "anchors": ["six", "seven"]}
    answer = posted(client, "/compare", body)
    four, five, six, seven = offline(reward, "Two plus two?", "4", "five", "six", "seven")
    expected = [four - (six + seven) / 2, five - (six + seven) / 2]
    assert answer["rewards"] == expected
    assert answer["comparisons"][1] == {
        "a": 0,
        "anchor": 1,
        "difference": four - seven,
    }


# -- OpenRLHF --------------------------------------------------------------------------------------


def test_openrlhf_reads_the_response_out_of_the_query(client, reward) -> None:
    # As SingleTurnAgentExecutor sends it: prompts rendered by the template, queries decoded with
    # special tokens, one cut by its length and one with its end.
    body = {
        "query": [RENDERED + "Scattering", RENDERED + "Because<eos>"],
        "prompts": [RENDERED, RENDERED],
        "labels": ["", ""],
    }
    answer = posted(client, "/get_reward", body)
    expected = offline(reward, QUESTION, "Scattering", "Because")
    assert answer["rewards"] == expected
    assert answer["scores"] == answer["rewards"]
    assert answer["extra_logs"] == {}


def test_openrlhf_without_prompts(client, reward) -> None:
    # As its older clients, and serve_rm.py, have it.
    answer = posted(client, "/get_reward", {"query": [RENDERED + "Because<eos>", "Two? 2"]})
    expected = [*offline(reward, QUESTION, "Because"), *offline(reward, "Two?", " 2")]
    assert answer["rewards"] == expected


def test_openrlhf_plain_texts(client, reward) -> None:
    body = {"query": ["Two plus two? 4"], "prompts": ["Two plus two?"], "labels": ["4"]}
    answer = posted(client, "/get_reward", body)
    assert answer["rewards"] == offline(reward, "Two plus two?", " 4")


def test_openrlhf_sends_empty_lists_where_it_has_more_servers_than_samples(client) -> None:
    answer = posted(client, "/get_reward", {"query": [], "prompts": [], "labels": []})
    assert answer == {"rewards": [], "scores": [], "extra_logs": {}}


def test_openrlhf_query_that_does_not_begin_with_its_prompt(client) -> None:
    body = {"query": ["two? 4"], "prompts": ["Two?"], "labels": [""]}
    response = client.post("/get_reward", json=body)
    assert response.status_code == 422
    assert "query[0] does not begin with prompts[0]" in response.json()["error"]["message"]


# -- vLLM ------------------------------------------------------------------------------------------


def test_vllm_classify(client, reward) -> None:
    # As examples/pooling/classify of vLLM asks: the model's name first, then the texts.
    model = client.get("/v1/models").json()["data"][0]["id"]
    texts = [RENDERED + "Because<eos>", "Two plus two? 4"]
    answer = posted(client, "/classify", {"model": model, "input": texts, "use_activation": False})
    assert set(answer) == {"id", "object", "created", "model", "data", "usage"}
    assert answer["object"] == "list"
    assert answer["model"] == model
    expected = [*offline(reward, QUESTION, "Because"), *offline(reward, "Two plus two?", " 4")]
    for index, (entry, score) in enumerate(zip(answer["data"], expected, strict=True)):
        assert entry == {
            "index": index,
            "label": "LABEL_0",
            "probs": [score],
            "num_classes": 1,
        }
    # A byte a token; special tokens count one each, and plain text is closed with EOS.
    tokens = len("Why is the sky blue?") + len("Because") + 4 + len("Two plus two? 4") + 1
    assert answer["usage"]["prompt_tokens"] == tokens


def test_vllm_classify_one_text_and_a_conversation(client, reward) -> None:
    answer = posted(client, "/classify", {"input": "Two plus two? 4"})
    expected = offline(reward, "Two plus two?", " 4")
    assert answer["data"][0]["probs"] == expected
    messages = [*TURNS, {"role": "assistant", "content": "Because"}]
    answer = posted(client, "/classify", {"messages": messages})
    expected = offline(reward, QUESTION, "Because")
    assert answer["data"][0]["probs"] == expected


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"input": "text", "use_activation": True}, "use_activation"),
        ({"input": [[1, 2, 3]]}, "token ids are not read"),
        ({"input": "text", "model": "another"}, "the model 'another' is not here"),
        ({"messages": TURNS}, "messages"),
        ({}, "input should be a text"),
    ],
)
def test_vllm_what_is_not_read(client, body, cause) -> None:
    response = client.post("/classify", json=body)
    assert response.status_code == 422
    assert cause in response.json()["error"]["message"]


def test_a_model_that_reads_pairs_of_texts_reads_no_whole_text(encoder) -> None:
    with running(encoder) as client:
        response = client.post("/classify", json={"input": "Two plus two? 4"})
        assert response.status_code == 422
        assert "reads prompt and response apart" in response.json()["error"]["message"]
        body = {"query": ["Two plus two? 4"], "prompts": ["Two plus two?"]}
        answer = posted(client, "/get_reward", body)
    assert answer["rewards"] == offline(encoder, "Two plus two?", " 4")


# -- slime -----------------------------------------------------------------------------------------


def test_slime_gets_one_number(client, reward) -> None:
    # As remote_rm posts a Sample; its prompt is rendered, or turns.
    for prompt in (RENDERED, TURNS):
        body = {"prompt": prompt, "response": "Because", "label": None}
        answer = posted(client, "/reward", body)
        assert isinstance(answer, float)
        assert answer == offline(reward, QUESTION, "Because")[0]


# -- scorers without a reward of a lone response ---------------------------------------------------


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/score", {"rows": [{"prompt": "x", "responses": ["y"]}]}),
        ("/get_reward", {"query": ["xy"], "prompts": ["x"]}),
        ("/classify", {"input": "xy"}),
        ("/reward", {"prompt": "x", "response": "y"}),
    ],
)
def test_a_difference_model_points_to_compare(difference, route, body) -> None:
    with running(difference) as client:
        response = client.post(route, json=body)
    assert response.status_code == 422
    assert "/compare" in response.json()["error"]["message"]
