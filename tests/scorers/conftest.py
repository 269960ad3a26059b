"""Tiny random backbones on disk: a decoder (Llama) and an encoder (BERT), each with a byte-level
tokenizer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rewarddiff.differences import Array, weighed
from rewarddiff.encoding import LengthConfig
from rewarddiff.records import Group, Message
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.protocol import Scorer

BACKBONES = ["decoder", "encoder"]
KINDS = [
    ("reward", "segments"),
    ("difference", "segments"),
    ("difference", "last"),
    ("difference", "general"),
]
"""Every kind of scorer, with the head of a difference model."""


@pytest.fixture(scope="session")
def folders(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    llama = LlamaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2,
        pad_token_id=None, bos_token_id=tiny_tokenizer.bos_token_id, eos_token_id=tiny_tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(llama).save_pretrained(root / "decoder")
    tiny_tokenizer.save_pretrained(root / "decoder")
    bert = BertConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, initializer_range=0.2, hidden_dropout_prob=0.1,
    )  # fmt: skip
    BertModel(bert).save_pretrained(root / "encoder")
    pair_tokenizer().save_pretrained(root / "encoder")
    return {name: root / name for name in BACKBONES}


def pair_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, pairs framed as BERT frames them: [CLS]=1 A [SEP]=2 B [SEP]=2, types 0 and
    1."""
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate([*specials, *letters])}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


HEAD_OPTIONS = ("rank", "orders", "duplication", "reverse", "regulariser")


def configured(folder: Path, **options: Any) -> ScorerConfig:
    """A configuration; options of the head stand beside its name."""
    inside = {option: options.pop(option) for option in HEAD_OPTIONS if option in options}
    if inside:
        options["head"] = {"name": options.get("head", "general"), **inside}
    settings = {"lengths": LengthConfig(max_response=64), **options}
    return ScorerConfig(backbone=str(folder), **settings)


def make(folder: Path, **options: Any) -> NeuralScorer:
    return new_scorer(configured(folder, **options), seed=1)


def means(scorer: Scorer, *args: Any, **options: Any) -> list[Array]:
    """d of each group's pairs."""
    return [d.mean for d in scorer.differences(*args, **options)]


def spreads(scorer: Scorer, *args: Any, **options: Any) -> list[Array]:
    """The spread of d over the heads of each group's pairs."""
    return [d.spread for d in scorer.differences(*args, **options)]


def by_head(scorer: Scorer, *args: Any, **options: Any) -> list[Array]:
    """d of each group's pairs, by head."""
    return [d.by_head for d in scorer.differences(*args, **options)]


def readings(scorer: Scorer, *args: Any, **options: Any) -> list[Array]:
    """d(a, b) and d(b, a) of each group's pairs as read, (pairs, 2)."""
    read = []
    for d in scorer.differences(*args, **options):
        backward = -d.forward if d.backward is None else d.backward
        read.append(np.stack([weighed(way, d.weights) for way in (d.forward, backward)], axis=1))
    return read


@pytest.fixture
def groups() -> list[Group]:
    return [
        Group(
            "a",
            "What is tea?",
            ("A drink of leaves.", "Leaf", "Hot water over leaves, left to stand."),
            (3, 1, 4),
        ),
        Group("b", (Message("user", "Two and two?"),), ("Four.", "Five, I think."), (2, 0)),
        Group("c", "Name a colour", ("Red", "Blue-green", "A dog", "No"), (5, 4, 1, 0)),
    ]


TRAINED = """
import json, sys
from pathlib import Path
from rewarddiff.config import load_recipe
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.pipeline.commands import train_scorer
given = json.loads(sys.argv[1])
groups = [Group(*group, comparisons=(Comparison(0, 1),)) for group in given["groups"]]
train_scorer(load_recipe(given["config"], [], ScorerConfig), groups, groups[:1], output=Path(given["output"]))
"""


def told_by(
    output: Path,
    config: dict[str, Any],
    groups: list[tuple[str, str, tuple[str, str]]],
    *,
    tokens: int,
    processes: int,
) -> list[dict[str, Any]]:
    """What training tells of its steps, cut by a token budget and by processes; the scorer is left
    in `output/model`.

    Groups are (id, prompt, (chosen, rejected)), trained on in three steps of all; the dev set has
    one: of two processes one has none.
    """
    train = {
        "lr": 1e-3, "head_lr": 1e-2, "epochs": 3, "batch_size": len(groups), "precision": "fp32", "dropout": False,
        "microbatch_tokens": tokens,
    }  # fmt: skip
    config = {**config, "lengths": {"max_response": 16}, "train": train}
    given = json.dumps({"config": config, "groups": groups, "output": str(output)})
    launch = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        if processes > 1
        else []
    )
    script = output.with_suffix(".py")
    script.write_text(TRAINED)
    command = [sys.executable, *launch, str(script), given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == "train"]
