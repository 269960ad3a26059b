"""A tiny transformer that speaks the language: its tokenizer, and how it is pretrained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewarddiff.config import at_least, checked, positive
from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.lab.online.world import (
    COUNTS,
    LONGEST,
    MANNERS,
    OPENINGS,
    TOPICS,
    WORDS_OF,
    World,
)
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.items import Pairs
from rewarddiff.policies.objectives.sft import SFTConfig
from rewarddiff.policies.policy import PolicyConfig, train_policy

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
CONTEXT = 32
"""Positions of the transformer: more than any prompt with its response has tokens."""


@checked
@dataclass(frozen=True)
class PretrainConfig:
    """The transformer, and how it learns the language.

    Attributes:
        hidden: width of its states. layers, heads: how many it has.
        texts: responses of the language that it reads, each once. batch_size: at a time. lr: peak
            learning rate.
    """

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    texts: int = 12_800
    batch_size: int = 64
    lr: float = 5e-3

    def __post_init__(self) -> None:
        at_least(self, 1, "hidden", "layers", "heads", "texts", "batch_size")
        positive(self, "lr")


def vocabulary() -> list[str]:
    """Return every token, the special ones first."""
    words = [word for topic in TOPICS for word in WORDS_OF[topic]]
    return [*SPECIAL, *OPENINGS, *COUNTS, *MANNERS, *TOPICS, "words", ":", *words]


def encoder() -> Encoder:
    """Return what reads and writes texts for the transformer: one token a word."""
    ids = {token: place for place, token in enumerate(vocabulary())}
    words = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing("<bos> $A", special_tokens=[("<bos>", ids["<bos>"])])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    return Encoder(tokenizer, LengthConfig(max_response=LONGEST), CONTEXT)


def untrained(config: PretrainConfig, encoder: Encoder, seed: int) -> LlamaForCausalLM:
    """Return the transformer with drawn weights."""
    tokenizer = encoder.tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden,
                intermediate_size=2 * config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                max_position_embeddings=CONTEXT,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                tie_word_embeddings=True,
            )
        )


def pretrained(config: PretrainConfig, world: World, encoder: Encoder) -> LlamaForCausalLM:
    """Return a transformer that has learned the language, by the project's own loop."""
    model = untrained(config, encoder, world.seed)
    settings = PolicyConfig(
        objective=SFTConfig(),
        train=TrainConfig(
            lr=config.lr,
            batch_size=config.batch_size,
            microbatch_tokens=16_384,
            precision="fp32",
            save_every=0,
            eval_every=None,
        ),
    )
    texts = [(group, Pairs((), ())) for group in world.corpus(config.texts)]
    items = SFTConfig().items(texts, encoder, Ledger())
    with TemporaryDirectory() as folder:
        train_policy(
            model,
            items,
            settings,
            output=Path(folder),
            weights="",
            seed=world.seed,
            name="language",
        )
    return model
