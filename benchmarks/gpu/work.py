"""What is trained on: rows with HH's lengths, as items of every objective, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.gpu.shapes import Shape
from benchmarks.groups import make_groups
from benchmarks.rows import WORDS, make_rows
from rewarddiff.encoded import Encoded
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.policies.items import Pairs, PreferenceItem, preference_items
from rewarddiff.records import Comparison, Group

UNLIMITED = LengthConfig(max_prompt=None, max_response=4096)
MARKS = ("<pad>", "<end>", "<unknown>", "Human:", "Assistant:")


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words that rows are made of, one token each."""
    vocabulary = {word: i for i, word in enumerate([*MARKS, *dict.fromkeys(WORDS)])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>"
    )


def pairs(count: int) -> list[Group]:
    """Return prompts with two responses, the first of which is preferred."""
    comparisons = (Comparison(0, 1),)
    return [
        Group(str(i), row.prompt, (row.chosen, row.rejected), comparisons=comparisons)
        for i, row in enumerate(make_rows(count))
    ]


def lists(count: int) -> list[Group]:
    """Return prompts with six scored responses."""
    return make_groups(count, "hh")


def policy_items(
    groups: Sequence[Group], tokenizer: Any, *, whole: bool = False
) -> list[PreferenceItem]:
    """Return what an objective of policies is trained on."""
    encoder = Encoder(tokenizer, UNLIMITED)
    items = []
    for group in groups:
        responses = tuple(encoder.response(group.prompt, text) for text in group.responses)
        encoded = Encoded(group, encoder.prompt(group.prompt), responses)
        unweighted = Pairs.unweighted(list(group.known_comparisons()))
        items += preference_items(encoded, unweighted, whole=whole)
    return items


@dataclass(frozen=True)
class Load:
    """Tokens that something reads, every prompt once, and those of them that are predicted."""

    tokens: int
    predicted: int = 0

    @classmethod
    def of_policy(cls, items: Sequence[PreferenceItem]) -> Load:
        tokens = sum(len(item.tree) for item in items)
        prompts = sum(len(item.tree.nodes[0].tokens) for item in items)
        return cls(tokens, tokens - prompts)

    def flops(self, shape: Shape, per_weight: int = 6) -> float:
        """Return the useful work: attention's products, padding and what is done twice are none.

        Args:
            per_weight: and token: 2 forward, 4 backward.
        """
        return float(per_weight * (shape.body * self.tokens + shape.head * self.predicted))
