"""Text to tokens: the tokenizer's own chat template, one BOS, one EOS, and cuts that are counted.

Prompt and response are tokenised apart, so a response has the same tokens in every tree it stands in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from rewarddiff.config import at_least, checked
from rewarddiff.data.ledger import Ledger
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group, Message, Prompt, turns_and_tools


@checked
@dataclass(frozen=True)
class LengthConfig:
    """Token limits. A prompt beyond `max_prompt` keeps its end, a response beyond `max_response` its beginning.

    `max_prompt: null` cuts no prompt: one that does not fit the model's context is dropped, and counted.
    """

    max_prompt: int | None = None
    max_response: int = 512

    def __post_init__(self) -> None:
        at_least(self, 1, "max_prompt", "max_response")


@dataclass(frozen=True)
class Encoded:
    """A group as token ids, its responses in the order of `group.responses`; () is one that does not fit."""

    group: Group
    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    def usable(self, comparison: Comparison) -> bool:
        """Whether both responses fit and differ in what is left of them."""
        chosen, rejected = self.responses[comparison.chosen], self.responses[comparison.rejected]
        return bool(chosen and rejected) and chosen != rejected

    def labelled(self) -> list[tuple[int, bool]]:
        """The responses labelled by themselves that fit, and whether each is desirable."""
        return [(i, label) for i, label in self.group.known_labels() if self.responses[i]]


class Encoder:
    """Token ids for one tokenizer.

    Args:
        tokenizer: any Hugging Face tokenizer; conversations need one with a chat template.
        context: positions the model has, or None where it has no limit.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, lengths: LengthConfig, context: int | None = None) -> None:
        self.tokenizer: Any = tokenizer
        self.lengths = lengths
        self.context = context
        if context is not None and (lengths.max_prompt or 1) + lengths.max_response > context:
            raise UserError(
                f"max_prompt {lengths.max_prompt} + max_response {lengths.max_response} is beyond the model's "
                f"context of {context} positions: lower max_prompt or max_response"
            )

    def prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Plain text untouched, with the tokenizer's BOS once; a conversation by its template, up to the reply."""
        if isinstance(prompt, str):
            ids = self._tokens(prompt, special=True)
            ids = ids[: len(ids) - self._appended]
            bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
            if bos is not None and ids[:2] == [bos, bos]:
                ids = ids[1:]
            return tuple(ids) or (bos if bos is not None else eos,)
        return tuple(self._tokens(self._render(prompt, reply=True)))

    def response(self, prompt: Prompt, text: str) -> tuple[int, ...]:
        """The response and one end token: EOS for plain prompts, the template's end of turn for conversations."""
        end = self.end_of(prompt)
        ids = self._continued(text) if isinstance(prompt, str) else self._tokens(text)
        return tuple(ids if ids and ids[-1] == end else [*ids, end])

    def fitting(self, prompt: Prompt, response: int) -> tuple[int, ...]:
        """A prompt's tokens, cut at its beginning so that `response` more tokens fit."""
        if self.context is not None and response >= self.context:
            raise UserError(
                f"{response} new tokens leave no room for a prompt: the model reads {self.context} positions; "
                "lower max_new_tokens"
            )
        ids = self.prompt(prompt)
        limits = [n for n in (self.lengths.max_prompt, self.context and self.context - response) if n is not None]
        return ids[-min([*limits, len(ids)]) :]

    def end_of(self, prompt: Prompt) -> int:
        """The token that ends a response to this prompt."""
        end: int = self.tokenizer.eos_token_id if isinstance(prompt, str) else self._end_of_turn
        return end

    def group(self, group: Group, ledger: Ledger) -> Encoded | None:
        """Token ids of a group within the limits; None (and a line in the ledger) where it cannot be used.

        Responses that do not fit, or are alike after the cut, take only their own comparisons with them, as long as
        two different responses and a known comparison (where any is known) remain: `Encoded.usable` says which. A
        response labelled by itself needs no other, and only has to fit.
        """
        prompt = self.prompt(group.prompt)
        if left_out := self.left_out(group.prompt):
            ledger.change("tools_left_out", group.source, group.id, left_out)
        longest, limit = self.lengths.max_prompt, self.lengths.max_response
        if longest is not None and len(prompt) > longest:
            ledger.change("prompt_cut", group.source, group.id, f"{len(prompt)} tokens cut to the last {longest}")
            prompt = prompt[-longest:]
        responses = [self.response(group.prompt, text) for text in group.responses]
        if any(len(r) > limit for r in responses):
            ledger.change("response_cut", group.source, group.id, f"{max(map(len, responses))} tokens cut to {limit}")
            responses = [r[:limit] for r in responses]
        room = math.inf if self.context is None else self.context - len(prompt)
        encoded = Encoded(group, prompt, tuple(r if len(r) <= room else () for r in responses))
        losses = []
        if not all(encoded.responses):
            most = max(map(len, responses))
            detail = f"{len(prompt)} + {most} tokens, the model reads {self.context}: set max_prompt"
            losses.append(("prompt_too_long", detail))
        if len(set(responses)) < len(set(group.responses)):
            losses.append(("identical_after_truncation", f"alike in the first {limit} tokens"))
        if losses:
            different = len({r for r in encoded.responses if r})
            usable = [encoded.usable(c) for c in group.known_comparisons()]
            if not encoded.labelled() and (different < 2 or (usable and not any(usable))):
                reason, detail = losses[0]
                ledger.drop(reason, group.source, group.id, detail)
                return None
            left = f"{different} of {len(responses)} responses, {sum(usable)} of {len(usable)} comparisons left"
            for reason, detail in losses:
                ledger.change(reason, group.source, group.id, f"{detail}; {left}")
        ledger.keep()
        return encoded

    def groups(self, groups: Iterable[Group], ledger: Ledger) -> Iterator[Encoded]:
        for group in groups:
            if (encoded := self.group(group, ledger)) is not None:
                yield encoded

    def text(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def _tokens(self, text: str, *, special: bool = False) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=special).input_ids
        return ids

    def _continued(self, text: str) -> list[int]:
        """Tokens of a text that another stands before: without the space some tokenizers put in front of every text."""
        if self._spaced:
            before, both = self._tokens("\n"), self._tokens("\n" + text)
            if both[: len(before)] == before:
                return both[len(before) :]
        return self._tokens(text)

    @cached_property
    def _spaced(self) -> bool:
        """Whether the tokenizer puts a space in front of every text, as those of Llama 2 and Mistral do."""
        return self._tokens("\na")[len(self._tokens("\n")) :] != self._tokens("a")

    @cached_property
    def _appended(self) -> int:
        """How many special tokens the tokenizer puts behind every text; a prompt is not the end."""
        bare, whole = self._tokens("a"), self._tokens("a", special=True)
        extra = range(len(whole) - len(bare) + 1)
        return next((len(whole) - len(bare) - k for k in extra if whole[k : k + len(bare)] == bare), 0)

    def _render(self, messages: Sequence[Message], *, reply: bool) -> str:
        if self.tokenizer.chat_template is None:
            raise UserError(
                "the data holds conversations but the tokenizer has no chat template: "
                "use an instruction-tuned model, set tokenizer.chat_template, or give plain-text prompts"
            )
        turns, tools = turns_and_tools(messages)
        text: str = self.tokenizer.apply_chat_template(turns, tools=tools, add_generation_prompt=reply, tokenize=False)
        return text

    def left_out(self, prompt: Prompt) -> str:
        """Say which of tools and calls of tools the chat template does not read: it renders the same without.

        Empty where it reads all there is of them.
        """
        if isinstance(prompt, str) or not any(message.extras for message in prompt):
            return ""
        whole = self._render(prompt, reply=True)
        left_out = []
        for key in ("tools", "tool_calls"):
            if not any(key in message.turn() for message in prompt):
                continue
            bare = [message.without(key) for message in prompt]
            if self._render(bare, reply=True) == whole:
                left_out.append(key)
        return f"the chat template does not read {' and '.join(left_out)}" if left_out else ""

    @cached_property
    def _end_of_turn(self) -> int:
        """The special token that the template puts after a reply, EOS where it puts none."""
        question, answer = Message("user", "Question"), "An answer in words"
        text = self._render([question, Message("assistant", answer)], reply=False)
        tail = self._tokens(text.rpartition(answer)[2])
        added = self.tokenizer.added_tokens_decoder  # has those, too, that carry no name such as "eos_token"
        special = {*self.tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        end: int = next((t for t in tail if t in special), self.tokenizer.eos_token_id)
        return end
