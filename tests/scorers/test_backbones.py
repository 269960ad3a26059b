"""Finding out how a model reads by running it, and what it has room for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from rewarddiff.errors import UserError
from rewarddiff.scorers.neural.backbones import context, load_backbone, reads_both_ways
from rewarddiff.scorers.neural.build import load_scorer, save_scorer

from .conftest import BACKBONES, make, pair_tokenizer, readings

SMALL = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.mark.parametrize(
    ("name", "config", "encoder"),
    [
        ("Bert", SMALL, True),
        ("Roberta", SMALL, True),
        ("ModernBert", {**SMALL, "pad_token_id": 0}, True),
        ("DebertaV2", SMALL, True),
        ("Bert", {**SMALL, "is_decoder": True}, False),
        ("Llama", SMALL, False),
        ("GPT2", {"vocab_size": 300, "n_embd": 16, "n_layer": 1, "n_head": 2}, False),
        (
            "Mamba",
            {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
            False,
        ),
    ],
)
def test_encoders_are_found_by_what_they_do(
    name: str, config: dict[str, object], encoder: bool
) -> None:
    torch.manual_seed(0)
    settings = getattr(transformers, f"{name}Config")(**config)
    assert reads_both_ways(transformers.AutoModel.from_config(settings).eval()) is encoder


def test_context_of_encoders() -> None:
    """BERT's table of 40 is 40 positions; RoBERTa's counts from padding index + 1, so 40 rows are
    38 positions."""
    tokenizer = pair_tokenizer()
    bert = transformers.BertModel(transformers.BertConfig(**SMALL, max_position_embeddings=40))
    roberta = transformers.RobertaModel(
        transformers.RobertaConfig(**SMALL, max_position_embeddings=40, pad_token_id=1)
    )
    assert context(bert, tokenizer, encoder=True) == 40
    assert context(roberta, tokenizer, encoder=True) == 38
    tokenizer.model_max_length = 32
    assert context(bert, tokenizer, encoder=True) == 32
    ids = torch.arange(38)[None] + 2
    roberta(ids)  # all of them can be read
    with pytest.raises((IndexError, RuntimeError)):
        roberta(torch.arange(39)[None] + 2)


def test_a_decoder_without_trees_and_without_a_classification_head(
    tmp_path, tiny_tokenizer, groups
) -> None:
    """Mamba: plain rows, a head of our own, and a folder with head.safetensors."""
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    tiny_tokenizer.save_pretrained(tmp_path / "mamba")
    scorer = make(tmp_path / "mamba", kind="difference")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "scorer")
    pairs = [[(0, 1)]] * len(groups)
    for a, b in zip(
        readings(scorer, groups, pairs),
        readings(load_scorer(tmp_path / "scorer"), groups, pairs),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_encoder_decoders_are_refused(tmp_path) -> None:
    config = transformers.T5Config(
        vocab_size=30, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    with pytest.raises(UserError, match="t5 encodes and decodes"):
        load_backbone(str(tmp_path / "t5"))


# --- whole or refused -----------------------------------------------------------------------------------------------


def rewrite(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> Path:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def lose_a_layer(folder: Path) -> None:
    rewrite(
        folder,
        lambda weights: {
            k: w for k, w in weights.items() if ".1.mlp" not in k and ".1.output" not in k
        },
    )


def prefix(folder: Path) -> None:
    """As saved from inside DistributedDataParallel."""
    rewrite(folder, lambda weights: {f"module.{k}": w for k, w in weights.items()})


def grow_the_vocabulary(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "vocab_size": config["vocab_size"] + 8})
    )


def leave_a_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    )


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


BROKEN = [
    (lose_a_layer, "not a whole model: . weights are missing, as "),
    (prefix, "not a whole model: .* weights are missing, as "),
    (grow_the_vocabulary, "1 weights have not the size that config.json gives, as .*embed.*: "),
    (leave_a_pointer, "a pointer of Git LFS, not the weights"),
    (cut, "cannot be loaded"),
]


@pytest.mark.parametrize(
    ("spoil", "cause"), BROKEN, ids=lambda value: getattr(value, "__name__", "")
)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_body_that_is_not_whole_is_refused(
    folders, tmp_path, backbone: str, spoil, cause: str
) -> None:
    """As a new scorer's backbone, and as a trained scorer; a body drawn at random would differ with
    every seed."""
    scorer = make(folders[backbone])
    scorer.trained = True
    save_scorer(scorer, tmp_path / "scorer")
    shutil.copytree(folders[backbone], tmp_path / "backbone")
    for name in ("backbone", "scorer"):
        spoil(tmp_path / name)
    for load in (lambda: make(tmp_path / "backbone"), lambda: load_scorer(tmp_path / "scorer")):
        with pytest.raises(UserError, match=cause) as caught:
            load()
        assert str(caught.value).startswith(str(tmp_path))
        assert "\n" not in str(caught.value)


def test_a_head_of_its_own_that_is_broken_or_of_another_size_is_refused(folders, tmp_path) -> None:
    scorer = make(folders["encoder"])
    scorer.trained = True
    save_scorer(scorer, tmp_path / "scorer")
    head = tmp_path / "scorer" / "head.safetensors"
    whole = head.read_bytes()
    size = re.escape("copying a param with shape torch.Size([1, 16]) from checkpoint")
    save_file({"weight": torch.ones(1, 16)}, head)
    with pytest.raises(
        UserError, match=f"head.safetensors: cannot be loaded .size mismatch for weight: {size}"
    ):
        load_scorer(tmp_path / "scorer")
    save_file({"weight": torch.ones(1, 1)}, head)  # what could be spread over 32 numbers
    with pytest.raises(UserError, match=r"head\.safetensors: cannot be loaded"):
        load_scorer(tmp_path / "scorer")
    for content in (whole[:-5], b"version https://git-lfs.github.com/spec/v1\n", b""):
        head.write_bytes(content)
        with pytest.raises(UserError, match=r"head\.safetensors: cannot be loaded"):
            load_scorer(tmp_path / "scorer")


def test_a_masked_language_model_without_a_pooler_is_a_whole_body(tmp_path) -> None:
    """Of BERT only its classification head reads the pooler, and trains it with the rest: RoBERTa
    has none at all."""
    config = transformers.BertConfig(**SMALL)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "mlm")
    pair_tokenizer().save_pretrained(tmp_path / "mlm")
    assert all("pooler" not in key for key in load_file(tmp_path / "mlm" / "model.safetensors"))
    assert make(tmp_path / "mlm", pooling="cls").reader.own_head is None
