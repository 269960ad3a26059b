"""Saved reward models, read by other programs: transformers, and vLLM by the rule that it documents."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from rewarddiff.records import Group, Message, prompt_text
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.ranking import scores

from .conftest import make

CHAT = (Message("system", "Be brief."), Message("user", "Two and two?"))
GROUPS = [
    Group("a", "What is tea?", ("A drink of leaves.", "Leaf", "Hot water over leaves, and wait.")),
    Group("b", CHAT, ("Four.", "Five, I think.", "")),
]


def saved(scorer: NeuralScorer, folder: Path) -> NeuralScorer:
    scorer.trained = True
    save_scorer(scorer, folder)
    return scorer


@pytest.fixture(scope="module")
def gpt2_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    """Positions are learned, so that padding before a text would move it; padding is on the left."""
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    size = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    config = GPT2Config(vocab_size=len(tiny_tokenizer), initializer_range=0.2, **size)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder, padding_side="left").save_pretrained(folder)
    return folder


def activated(logits: Tensor, problem_type: str | None) -> Tensor:
    """What vLLM's pooler makes of the number at a text's end.

    vllm/model_executor/layers/pooler/activations.py, get_classification_activation_function:
    "regression" is PoolerIdentity, "multi_label_classification" a sigmoid, all else PoolerClassify,
    which is a sigmoid where num_labels < 2 and a softmax otherwise.
    """
    if problem_type == "regression":
        return logits
    if problem_type == "multi_label_classification" or logits.shape[-1] < 2:
        return logits.sigmoid()
    return logits.softmax(-1)


def texts_of(group: Group, tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """A decoder's texts as a server is given them: text and its end token, or messages."""
    rows = []
    for response in group.responses:
        if isinstance(group.prompt, str):
            rows.append(tokenizer(group.prompt + response + tokenizer.eos_token).input_ids)
        else:
            turns = [m.turn() for m in group.prompt]
            turns.append({"role": "assistant", "content": response})
            rows.append(tokenizer.apply_chat_template(turns, return_dict=False))
    return rows


@pytest.mark.parametrize("backbone", ["decoder", "gpt2"])
def test_a_decoder_is_served_as_it_scores(folders, gpt2_folder, tmp_path, backbone) -> None:
    """Alone and in a batch, plain prompts and conversations: to the score, not its sigmoid."""
    source = gpt2_folder if backbone == "gpt2" else folders["decoder"]
    ours = np.concatenate(scores(saved(make(source), tmp_path / "reward"), GROUPS))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert (model.num_labels, model.config.problem_type) == (1, "regression")
    assert model.config.pad_token_id == tokenizer.pad_token_id is not None
    rows = [row for group in GROUPS for row in texts_of(group, tokenizer)]
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([row])).logits for row in rows])
        many = model(**batch).logits
    for logits in (alone, many):
        served = activated(logits, model.config.problem_type)[:, 0].numpy()
        np.testing.assert_allclose(served, ours, rtol=1e-5, atol=1e-6)
    assert ours.max() > 1 or ours.min() < 0  # which no sigmoid is


def test_an_encoder_is_served_as_it_scores(folders, tmp_path) -> None:
    """Pooling cls: the tokenizer's pair of prompt and response; a conversation is plain text."""
    ours = np.concatenate(
        scores(saved(make(folders["encoder"], pooling="cls"), tmp_path / "reward"), GROUPS)
    )
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert (model.num_labels, model.config.problem_type) == (1, "regression")
    pairs = [(prompt_text(g.prompt), response) for g in GROUPS for response in g.responses]
    assert pairs[3][0] == "system: Be brief.\n\nuser: Two and two?"
    batch = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        many = model(**batch).logits
        # In lists: of a single pair the tokenizer takes an empty second text for none.
        rows = [tokenizer([prompt], [text], return_tensors="pt") for prompt, text in pairs]
        alone = torch.cat([model(**row).logits for row in rows])
    for logits in (alone, many):
        served = activated(logits, model.config.problem_type)[:, 0].numpy()
        np.testing.assert_allclose(served, ours, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "options", "reason"),
    [
        ("encoder", {}, "pooling mean .*; train with pooling: cls, or a decoder, for them"),
        ("decoder", {"heads": 3}, "several heads.*; train one without heads and aspects"),
        ("decoder", {"kind": "difference"}, "compares two responses.*; train a kind: reward"),
    ],
)
def test_what_no_classifier_can_hold_is_said(
    folders, tmp_path, caplog, backbone, options, reason
) -> None:
    """And such a folder is refused by transformers, or has a head that it calls new."""
    with caplog.at_level(logging.INFO, logger="rewarddiff"):
        saved(make(folders[backbone], **options), tmp_path / "scorer")
    assert [r.message for r in caplog.records if "rewarddiff alone" in r.message]
    assert caplog.records[-1].message.startswith(f"{tmp_path / 'scorer'}: ")
    assert len(caplog.records[-1].message.splitlines()) == 1
    assert re.search(reason, caplog.records[-1].message)
    _, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "scorer", output_loading_info=True
    )
    assert report["missing_keys"]


def test_a_saved_copy_of_a_strangers_model_is_served_too(folders, tmp_path) -> None:
    """A reward model without problem_type, as TRL saves one, and without padding, has them then."""
    model = AutoModelForSequenceClassification.from_pretrained(folders["decoder"], num_labels=1)
    model.save_pretrained(tmp_path / "theirs")
    AutoTokenizer.from_pretrained(folders["decoder"]).save_pretrained(tmp_path / "theirs")
    assert (model.config.problem_type, model.config.pad_token_id) == (None, None)
    scorer = load_scorer(tmp_path / "theirs")
    ours = np.concatenate(scores(scorer, GROUPS))
    save_scorer(scorer, tmp_path / "ours")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    assert again.config.problem_type == "regression"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ours")
    rows = [row for group in GROUPS for row in texts_of(group, tokenizer)]
    with torch.no_grad():
        many = again(**tokenizer.pad({"input_ids": rows}, return_tensors="pt")).logits[:, 0]
    np.testing.assert_allclose(many.numpy(), ours, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate(scores(load_scorer(tmp_path / "ours"), GROUPS)), ours
    )
