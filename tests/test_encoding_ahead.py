"""Texts of many groups read at once: tokens and counts are those of the groups one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from test_encoding import metaspace
from transformers import PreTrainedTokenizerFast

from rewarddiff import rendering, tokenizing
from rewarddiff.data.ledger import Ledger
from rewarddiff.encoded import Encoded
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.records import Comparison, Group, Message, Rendered

REFUSES_TOOLS = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content | trim }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ORDER = (Comparison(0, 1),)

GROUPS = [
    Group("plain", "Why so long a question?", (" Because", "No"), comparisons=ORDER),
    Group("talk", (Message("user", " Why? "),), (" Because it is", "No"), comparisons=ORDER),
    Group("refused", (Message("tool", "42"),), ("Yes", "No"), comparisons=ORDER),
    Group("rendered", Rendered("<|user|>Why?<eos><|assistant|>"), ("a<eos>", "b<eos>"), (1.0, 0.0)),
    Group("begun", (Message("user", "Why?"), Message("assistant", "Be")), ("cause", "yond")),
    Group("alike", "Why?", ("a long response A", "a long response B"), comparisons=ORDER),
    Group("empty", "", ("", "a"), comparisons=ORDER),
    Group("again", "Why so long a question?", (" Because", "Yes", "No"), scores=(1.0, 2.0, 0.0)),
]


def tokenizer_of(kind: str, tiny: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer = copy.deepcopy(tiny) if kind == "bytes" else metaspace()
    tokenizer.chat_template = REFUSES_TOOLS
    return tokenizer


def in_windows(encoder: Encoder, ledger: Ledger) -> list[Encoded | None]:
    return [encoder.group(group, ledger) for group in encoder.read_ahead(GROUPS, lambda one: one)]


@pytest.mark.parametrize("window", [2, 256])
@pytest.mark.parametrize("kind", ["bytes", "puts a space before every text"])
def test_groups_read_at_once_are_those_read_one_by_one(
    tiny_tokenizer: PreTrainedTokenizerFast, kind: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "WINDOW", window)
    encoder = Encoder(
        tokenizer_of(kind, tiny_tokenizer), LengthConfig(max_prompt=9, max_response=8)
    )
    alone, together = Ledger(), Ledger()
    one_by_one = [encoder.group(group, alone) for group in GROUPS]
    assert in_windows(encoder, together) == one_by_one
    assert together.to_dict() == alone.to_dict()
    assert one_by_one[2] is None
    assert sum(encoded is not None for encoded in one_by_one) >= 4
    # Nothing of it is left over for the next.
    assert encoder.group(GROUPS[0], Ledger()) == one_by_one[0]


def test_few_calls_read_many_groups(
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(tokenizer_of("bytes", tiny_tokenizer), LengthConfig())
    in_windows(encoder, Ledger())  # what is found out once, as the end of a turn
    calls: list[int] = []
    original = rendering.render

    def counted(template: str, conversations: Any, variables: Any) -> Any:
        calls.append(len(conversations))
        return original(template, conversations, variables)

    monkeypatch.setattr(rendering, "render", counted)
    in_windows(encoder, Ledger())
    # Three conversations: each with its opening, and with both responses.
    assert calls == [9]
