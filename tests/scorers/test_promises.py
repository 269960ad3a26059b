"""What users of reward models take for granted, in the float32 they run in: padding, batches, end
tokens, TRL's models.

A referee stands beside every case: the model's own code on one text without padding, or
transformers' classifier.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from datasets import Dataset
from real_templates import CHATS, with_chat
from tokenizers import Tokenizer, models
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from rewarddiff.errors import UserError
from rewarddiff.model_files import ABOUT
from rewarddiff.records import Group, Message
from rewarddiff.scorers.neural import readers
from rewarddiff.scorers.neural import scorer as base
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.ranking import scores

from .conftest import BACKBONES, make, readings

EVERY = [
    {"kind": "reward"},
    {"kind": "difference", "head": "segments"},
    {"kind": "difference", "head": "last"},
    {"kind": "difference", "head": "general"},
]
SINGLE = {"rtol": 1e-5, "atol": 5e-6}
"""Of scores up to 3 that float32 sums of other lengths make up; a token too far is off by a tenth
or more."""
PAIRS = [[(0, 1), (1, 0)], [(0, 1)], [(3, 2), (0, 3), (1, 2)]]


def flat(found: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.asarray(values).ravel() for values in found])


@pytest.mark.parametrize("options", EVERY, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("backbone", BACKBONES)
def test_float32_readings_do_not_depend_on_their_company(
    folders, groups, monkeypatch, backbone, options
) -> None:
    """Of all at once, of three budgets of tokens, of each group alone, and of groups and pairs
    turned about: to the bit."""
    scorer = make(folders[backbone], **options)
    together = flat(readings(scorer, groups, PAIRS))
    assert np.abs(together).max() > 0.01  # a scorer that says nothing would pass

    def same(values: list[np.ndarray]) -> None:
        np.testing.assert_array_equal(flat(values), together)

    turned = readings(scorer, groups[::-1], [pairs[::-1] for pairs in PAIRS[::-1]])
    same([values[::-1] for values in turned[::-1]])
    same([readings(scorer, [g], [p])[0] for g, p in zip(groups, PAIRS, strict=True)])
    for budget in (1, 70, 200):
        monkeypatch.setattr(base, "READ_TOKENS", budget)
        monkeypatch.setattr(readers, "CPU_TOKENS", budget)
        same(readings(scorer, groups, PAIRS))


def with_tokenizer(scorer: NeuralScorer, folder: Path, **changes: Any) -> NeuralScorer:
    """The scorer as it is loaded with another tokenizer's settings beside its weights."""
    scorer.trained = True
    save_scorer(scorer, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, **changes)
    tokenizer.save_pretrained(folder)
    return load_scorer(folder)


@pytest.mark.parametrize("options", EVERY, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_tokenizers_side_of_padding_does_not_matter(
    folders, groups, tmp_path, backbone, options
) -> None:
    read = {}
    for side in ("left", "right"):
        scorer = with_tokenizer(
            make(folders[backbone], **options), tmp_path / side, padding_side=side
        )
        assert scorer.tokenizer.padding_side == side
        read[side] = flat(readings(scorer, groups, PAIRS))
    np.testing.assert_array_equal(read["left"], read["right"])


ENDS = [
    "It ends",
    "It ends<eos>",
    "<eos>",
    "one<eos>two<eos>",
    "a longer answer, to be padded beside",
]
"""Responses as texts; where they say the end token themselves it is the end token, and at the end
it is not doubled."""


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["<pad>", "<eos>"])
def test_a_decoder_is_read_at_the_last_real_token(
    folders, tmp_path, pad: str, side: Literal["left", "right"]
) -> None:
    """Also where padding is the end token and texts hold it: at the state after the last token of
    each text alone."""
    tokenizer = AutoTokenizer.from_pretrained(folders["decoder"], pad_token=pad, padding_side=side)
    plain = make(folders["decoder"])
    plain.trained = True
    save_scorer(plain, tmp_path / "scorer")
    tokenizer.save_pretrained(tmp_path / "scorer")
    scorer = load_scorer(tmp_path / "scorer")
    found = scores(scorer, [Group("g", "How does it end? ", tuple(ENDS))])[0]

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "scorer").eval()
    texts = ["How does it end? " + text.removesuffix("<eos>") + "<eos>" for text in ENDS]
    ids = [
        tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids for text in texts
    ]
    assert all(row[0, -1] == tokenizer.eos_token_id for row in ids)
    with torch.no_grad():
        expected = [model.score(model.model(row).last_hidden_state[0, -1]).item() for row in ids]
    np.testing.assert_allclose(found, expected, **SINGLE)
    assert found[0] == found[1]  # the same text, its end written out or not


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["<pad>", "<eos>"])
def test_a_saved_decoder_scores_the_same_in_transformers(
    folders, groups, tmp_path, pad: str, side: str
) -> None:
    """All texts in one padded batch, conversations by the template, whatever the backbone's padding
    was."""
    backbone = AutoTokenizer.from_pretrained(folders["decoder"], pad_token=pad)
    model = AutoModelForSequenceClassification.from_pretrained(folders["decoder"], num_labels=1)
    model.config.pad_token_id = backbone.pad_token_id
    for part in (model, backbone):
        part.save_pretrained(tmp_path / "backbone")
    scorer = make(tmp_path / "backbone")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")

    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward", padding_side=side)
    texts = [as_text(tokenizer, group, text) for group in groups for text in group.responses]
    inputs = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    assert len(set(inputs.attention_mask.sum(1).tolist())) > 3
    with torch.no_grad():
        expected = theirs(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(flat(scores(scorer, groups)), expected, **SINGLE)


def as_text(tokenizer: Any, group: Group, response: str) -> str:
    if isinstance(group.prompt, str):
        return group.prompt + response + str(tokenizer.eos_token)
    turns = [*((m.role, m.content) for m in group.prompt), ("assistant", response)]
    text: str = tokenizer.apply_chat_template(
        [{"role": r, "content": c} for r, c in turns], tokenize=False
    )
    return text


def test_a_saved_encoder_scores_the_same_in_transformers(folders, tmp_path) -> None:
    """Pooling cls; prompts and responses of all lengths in one padded batch."""
    groups = [Group(str(n), "Why" * n + "?", ("so", "because " * n, "no")) for n in range(1, 6)]
    scorer = make(folders["encoder"], pooling="cls")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    pairs = [(str(group.prompt), text) for group in groups for text in group.responses]
    inputs = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(flat(scores(scorer, groups)), expected, **SINGLE)


@pytest.mark.parametrize("pad", ["<pad>", "<eos>"])
@pytest.mark.parametrize("chat", [None, "smollm2"])
def test_a_reward_model_of_trls_scores_the_same_here(
    tiny_tokenizer, tmp_path, chat: str | None, pad: str
) -> None:
    """Two steps of RewardTrainer, its folder, and its own batch of the rows it was trained on."""
    torch.manual_seed(1)
    tokenizer, model = backbone(tiny_tokenizer, chat, pad_is_end=pad == "<eos>")
    options: dict[str, Any] = {
        "output_dir": str(tmp_path / "trl"), "report_to": "none", "use_cpu": True, "bf16": False, "max_steps": 2,
        "per_device_train_batch_size": 3, "learning_rate": 1e-2, "save_strategy": "no", "disable_tqdm": True,
    }  # fmt: skip
    data = Dataset.from_list([trl_row(*row, chat is not None) for row in ROWS])
    start = model.score.weight.detach().clone()
    trainer = RewardTrainer(
        model=model, args=RewardConfig(**options), train_dataset=data, processing_class=tokenizer
    )
    trainer.train()
    trainer.save_model()
    assert not torch.equal(model.score.weight, start)

    scorer = load_scorer(tmp_path / "trl")
    assert (scorer.kind, scorer.trained) == ("reward", True)
    expected = trl_scores(model.eval(), list(trainer.train_dataset), tokenizer.pad_token_id)
    np.testing.assert_allclose(
        np.stack(scores(scorer, asked(chat is not None))), expected, **SINGLE
    )


@pytest.mark.parametrize("pad_is_end", [False, True])
@pytest.mark.parametrize("chat", [None, *CHATS])
def test_a_foreign_reward_model_is_read_where_trl_reads_it(
    tiny_tokenizer, tmp_path, chat, pad_is_end: bool
) -> None:
    """With the rows as TRL's RewardTrainer prepares and pads them, and its padding left alone."""
    tokenizer, model = backbone(tiny_tokenizer, chat, pad_is_end=pad_is_end)
    rows = trl_rows(tokenizer, [trl_row(*row, chat is not None) for row in ROWS])
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "foreign")
    scorer = load_scorer(tmp_path / "foreign")
    found = np.stack(scores(scorer, asked(chat is not None)))
    np.testing.assert_allclose(found, trl_scores(model, rows, tokenizer.pad_token_id), **SINGLE)
    with torch.no_grad():
        alone = [
            [model(torch.tensor([row[f"{side}_ids"]])).logits.item() for side in SIDES]
            for row in rows
        ]
    np.testing.assert_allclose(found, alone, **SINGLE)

    save_scorer(
        scorer, tmp_path / "again"
    )  # saving it is no training: it is read as before, here and elsewhere
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "again").eval()
    assert again.config.pad_token_id == tokenizer.pad_token_id
    np.testing.assert_array_equal(
        np.stack(scores(load_scorer(tmp_path / "again"), asked(chat is not None))), found
    )


@pytest.mark.parametrize("adds", ["<bos> $A", "<bos> $A <eos>"])
def test_a_foreign_reward_model_reads_what_its_tokenizer_adds(
    tiny_tokenizer, tmp_path, adds: str
) -> None:
    """TRL writes the end token behind plain text, and the tokenizer may add another, and BOS."""
    tokenizer, model = backbone(tiny_tokenizer, None)
    special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<bos>", "<eos>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=adds, special_tokens=special
    )
    rows = trl_rows(tokenizer, [trl_row(*row, False) for row in [*ROWS, ("", "Hi", "Ho")]])
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "foreign")
    groups = [*asked(False), Group("empty", "", ("Hi", "Ho"))]
    found = np.stack(scores(load_scorer(tmp_path / "foreign"), groups))
    np.testing.assert_allclose(found, trl_scores(model, rows, tokenizer.pad_token_id), **SINGLE)


def test_a_merge_across_prompt_and_response_is_read_as_one_token(tmp_path) -> None:
    """b and c merge: "ab" and "c" are read as a, bc, as TRL reads them; and without a prompt there
    is no first part."""
    vocab = {token: i for i, token in enumerate(["a", "b", "c", "d", "bc", "<eos>"])}
    words = Tokenizer(models.BPE(vocab=vocab, merges=[("b", "c")]))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<eos>", pad_token="<eos>"
    )
    model = classifier(tokenizer)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "foreign")
    rows = trl_rows(tokenizer, [trl_row("ab", "c", "d", False), trl_row("", "a", "b", False)])
    assert rows[0]["chosen_ids"] == [0, 4, 5]
    scorer = load_scorer(tmp_path / "foreign")
    found = scores(scorer, [Group("0", "ab", ("c", "d")), Group("1", "", ("a", "b"))])
    # Where the prompt ends for d does not hang on c standing beside it.
    alone = scores(scorer, [Group("0", "ab", ("d",))])
    assert alone[0][0] == found[0][1]
    np.testing.assert_allclose(
        np.stack(found), trl_scores(model, rows, tokenizer.pad_token_id), **SINGLE
    )


@pytest.mark.parametrize("pad_is_end", [False, True])
@pytest.mark.parametrize("chat", [None, *CHATS])
def test_a_saved_scorer_scores_what_a_template_writes(
    tiny_tokenizer, tmp_path, chat, pad_is_end: bool
) -> None:
    """The text of `apply_chat_template`, or plain text and EOS, alone and in a padded batch: our
    number."""
    tokenizer, model = backbone(tiny_tokenizer, chat, pad_is_end=pad_is_end)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "backbone")
    scorer = make(tmp_path / "backbone")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")

    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    texts = [
        as_text(tokenizer, group, text)
        for group in asked(chat is not None)
        for text in group.responses
    ]
    found = flat(scores(scorer, asked(chat is not None)))
    batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        np.testing.assert_allclose(found, theirs(**batch).logits[:, 0], **SINGLE)
        alone = [
            theirs(tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids)
            for text in texts
        ]
    np.testing.assert_allclose(found, [output.logits.item() for output in alone], **SINGLE)


def test_a_scorer_of_before_is_read_up_to_the_end_token(tiny_tokenizer, tmp_path) -> None:
    """Its file does not say how; ChatML's line break behind the end was not read then."""
    tokenizer, model = backbone(tiny_tokenizer, "smollm2", pad_is_end=True)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "backbone")
    scorer = make(tmp_path / "backbone")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")
    about = json.loads((tmp_path / "reward" / ABOUT).read_text())
    assert about.pop("way") == "whole"
    (tmp_path / "reward" / ABOUT).write_text(json.dumps(about))

    found = np.stack(scores(load_scorer(tmp_path / "reward"), asked(True)))
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    for group, rewards in zip(asked(True), found, strict=True):
        texts = [as_text(tokenizer, group, text).removesuffix("\n") for text in group.responses]
        assert all(text.endswith("<|im_end|>") for text in texts)
        ids = [
            tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
            for text in texts
        ]
        with torch.no_grad():
            expected = [
                theirs.score(theirs.model(row).last_hidden_state[0, -1]).item() for row in ids
            ]
        np.testing.assert_allclose(rewards, expected, **SINGLE)
    assert np.abs(found - np.stack(scores(scorer, asked(True)))).max() > 0.01


def test_a_scorers_way_has_to_be_known(folders, tmp_path) -> None:
    scorer = make(folders["decoder"])
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")
    path = tmp_path / "reward" / ABOUT
    path.write_text(path.read_text().replace('"whole"', '"backwards"'))
    with pytest.raises(UserError, match="way is backwards, should be one of whole, apart"):
        load_scorer(tmp_path / "reward")


ROWS = [
    ("Say yes. ", "Yes!", "No."),
    ("Two and two? ", "Four", "Five, as I would say"),
    ("Why?\n", "\nSo", "Because"),
]
SIDES = ("chosen", "rejected")


def asked(conversational: bool) -> list[Group]:
    prompts = [(Message("user", prompt),) if conversational else prompt for prompt, *_ in ROWS]
    return [
        Group(str(i), prompt, row[1:])
        for i, (prompt, row) in enumerate(zip(prompts, ROWS, strict=True))
    ]


def backbone(tokenizer: Any, chat: str | None, *, pad_is_end: bool = False) -> tuple[Any, Any]:
    """A tokenizer with a model's chat template, or for plain text, and a random classifier for
    it."""
    if chat is not None:
        tokenizer = with_chat(tokenizer, chat, pad_is_end=pad_is_end)
    else:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.chat_template = None
        tokenizer.pad_token = "<eos>" if pad_is_end else "<pad>"
    return tokenizer, classifier(tokenizer)


def classifier(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2, num_labels=1,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return LlamaForSequenceClassification(config).eval()


def trl_rows(tokenizer: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as RewardTrainer prepares them."""
    args: Any = SimpleNamespace(dataset_num_proc=None, max_length=None)
    trainer: Any = None
    return list(
        RewardTrainer._prepare_dataset(trainer, Dataset.from_list(rows), tokenizer, args, "train")
    )


def trl_scores(model: Any, rows: list[dict[str, Any]], pad: int) -> np.ndarray:
    """What the model says of prepared rows in the batch that TRL makes of them: (rows, 2), chosen
    and rejected."""
    batch = DataCollatorForPreference(pad_token_id=pad)(rows)
    with torch.no_grad():
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[
            :, 0
        ]
    return scores.reshape(2, -1).T.numpy()


def trl_row(prompt: str, chosen: str, rejected: str, conversational: bool) -> dict[str, Any]:
    if not conversational:
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    turns = [{"role": "user", "content": prompt}]
    return {
        side: [*turns, {"role": "assistant", "content": text}]
        for side, text in (("chosen", chosen), ("rejected", rejected))
    }
