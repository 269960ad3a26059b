"""Tokenizers without a padding token that could serve: what was trained is what is loaded, here and
in transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.ranking import scores

from .conftest import make

END = "<|endoftext|>"
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
GROUPS = [
    Group("a", "Is it late? ", ("Wow!!", "Wow! !", "No!!!! It is early.")),
    Group("b", "Really?", ("!", "Not at all, he said; but it was.")),
]


def byte_tokenizer(*specials: str) -> PreTrainedTokenizerFast:
    """Bytes, then "!!" as one token; "!" is id 0, as in GPT-2's vocabulary. Only END, behind them,
    has a name."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert letters[0] == "!"
    tokenizer = Tokenizer(
        BPE(vocab={text: i for i, text in enumerate([*letters, "!!"])}, merges=[("!", "!")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END, *specials])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END
    )


def gpt2(folder: Path) -> None:
    """No token for padding at all, and an embedding for every token: one has to be added."""
    tokenizer = byte_tokenizer()
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=128)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def pythia(folder: Path) -> None:
    """A special token for padding that carries no name."""
    tokenizer = byte_tokenizer("<|padding|>")
    config = GPTNeoXConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **SMALL)
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def padding_without_embedding(folder: Path) -> None:
    """A padding token that somebody added to the tokenizer alone."""
    tokenizer = byte_tokenizer()
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SMALL)).save_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    "backbone", [gpt2, pythia, padding_without_embedding], ids=lambda make: make.__name__
)
def test_a_reward_model_is_the_same_after_saving(tmp_path: Path, backbone) -> None:
    torch.manual_seed(0)
    backbone(tmp_path / "backbone")
    original = AutoTokenizer.from_pretrained(tmp_path / "backbone")
    scorer = make(tmp_path / "backbone")
    before = np.concatenate(scores(scorer, GROUPS))
    assert len(set(before.round(6))) == len(before)  # also of "!!" and "! !"
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")
    loaded = load_scorer(tmp_path / "reward")
    np.testing.assert_array_equal(np.concatenate(scores(loaded, GROUPS)), before)
    for tokenizer in (scorer.tokenizer, loaded.tokenizer):
        assert tokenizer.tokenize("Wow!!") == original.tokenize("Wow!!") == ["W", "o", "w", "!!"]
        assert tokenizer.decode(tokenizer("Wow!!").input_ids, skip_special_tokens=True) == "Wow!!"
        assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward", padding_side="right")
    texts = [f"{group.prompt}{response}{END}" for group in GROUPS for response in group.responses]
    together = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        alone = [model(**tokenizer(text, return_tensors="pt")).logits.item() for text in texts]
        padded = model(**together).logits[:, 0].numpy()
    np.testing.assert_allclose(alone, before, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["reward", "difference"])
def test_tokens_without_embeddings_are_refused(tmp_path: Path, kind: str) -> None:
    padding_without_embedding(tmp_path / "backbone")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "backbone")
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(tmp_path / "backbone")
    # 256 bytes, "!!" and END have embeddings, ids 0 to 257; [PAD] is 258, and <tool> 259.
    with pytest.raises(
        UserError, match=r"has '<tool>' as token 259, the model embeddings for 258 tokens.*\(260\)"
    ):
        make(tmp_path / "backbone", kind=kind)
