"""Text to tokens: the tokenizer's own chat template, one BOS, one EOS, and cuts that are counted.

A policy's prompt and response are tokenised apart, as at generation the prompt comes first. What a
scorer reads is tokenised whole (`Encoder.wholes`), as TRL and transformers do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from rewarddiff import rendering
from rewarddiff.config import at_least, checked
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group, Message, Prompt, turns_and_tools


@checked
@dataclass(frozen=True)
class LengthConfig:
    """Token limits. A prompt beyond `max_prompt` keeps its end, a response beyond `max_response`
    its beginning.

    `max_prompt: null` cuts no prompt: one that does not fit the model's context is dropped, and
    counted.
    """

    max_prompt: int | None = None
    max_response: int = 512

    def __post_init__(self) -> None:
        at_least(self, 1, "max_prompt", "max_response")


class TemplateRefused(UserError):
    """A conversation that the chat template does not render, such as one with a role that it does
    not know."""

    def __init__(self, cause: str, place: str = "") -> None:
        where = f"{place}: " if place else ""
        super().__init__(
            f"{where}the chat template refuses the conversation ({cause}); change or delete the row"
        )
        self.cause = cause


@dataclass(frozen=True)
class Encoded:
    """A group as token ids, its responses in the order of `group.responses`; () is one that does
    not fit."""

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

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, lengths: LengthConfig, context: int | None = None
    ) -> None:
        self.tokenizer: Any = tokenizer
        self.lengths = lengths
        self.context = context
        self._opened: tuple[tuple[tuple[Message, ...], bool], str] | None = None
        if context is not None and (lengths.max_prompt or 1) + lengths.max_response > context:
            raise UserError(
                f"max_prompt {lengths.max_prompt} + max_response {lengths.max_response} is beyond the model's "
                f"context of {context} positions: lower max_prompt or max_response"
            )

    def prompt(self, prompt: Prompt, *, continues: bool = True) -> tuple[int, ...]:
        """Plain text untouched, with the tokenizer's BOS once; a conversation by its template, up
        to the reply.

        Args:
            continues: a conversation that ends with an assistant's turn ends with the beginning of
                the reply; otherwise another turn follows.
        """
        if isinstance(prompt, str):
            ids = self._tokens(prompt, special=True)
            ids = ids[: len(ids) - self._appended]
            bos = self.tokenizer.bos_token_id
            if bos is not None and ids[:2] == [bos, bos]:
                ids = ids[1:]
            return tuple(ids) or (bos if bos is not None else self._eos,)
        return tuple(self._tokens(self._opening_text(prompt, continues)))

    def response(self, prompt: Prompt, text: str) -> tuple[int, ...]:
        """The response and one end token: EOS for plain prompts, the template's end of turn for
        conversations."""
        return self.responses(prompt, [text])[0]

    def responses(self, prompt: Prompt, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """As `response`, several at a time. A conversation's responses are spaced and trimmed as
        its template does."""
        if isinstance(prompt, str):
            responses = [self.continued(text) for text in texts]
        else:
            responses = self._replies(prompt, texts)
        end = self.end_of(prompt)
        return [tuple(_ended(ids, end)) for ids in responses]

    def wholes(self, prompt: Prompt, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Prompt and response as one text, for each response: the tokens that TRL's RewardTrainer
        makes of a row.

        A conversation is all that the template writes, also behind the end of the last turn. Plain
        text is closed with EOS, and has the special tokens that the tokenizer adds.
        """
        if not isinstance(prompt, str):
            return [
                tuple(self._tokens(whole))
                for whole in self._render([_closed(prompt, text) for text in texts])
            ]
        eos = self.tokenizer.convert_ids_to_tokens(self._eos)
        return [
            tuple(self._tokens(_with_suffix(prompt + text, eos), special=True)) for text in texts
        ]

    def fitting(self, prompt: Prompt, response: int) -> tuple[int, ...]:
        """A prompt's tokens, cut at its beginning so that `response` more tokens fit."""
        if self.context is not None and response >= self.context:
            raise UserError(
                f"{response} new tokens leave no room for a prompt: the model reads {self.context} positions; "
                "lower max_new_tokens"
            )
        ids = self.prompt(prompt)
        limits = [
            n
            for n in (self.lengths.max_prompt, self.context and self.context - response)
            if n is not None
        ]
        return ids[-min([*limits, len(ids)]) :]

    def end_of(self, prompt: Prompt) -> int:
        """The token that ends a response to this prompt."""
        if isinstance(prompt, str) or self._end_of_turn is None:
            return self._eos
        return self._end_of_turn

    def ends(self, prompts: Iterable[Prompt]) -> list[int]:
        """The tokens that end responses to these prompts, and EOS where there is one."""
        eos = self.tokenizer.eos_token_id
        return sorted(
            {self.end_of(prompt) for prompt in prompts} | ({eos} if eos is not None else set())
        )

    def refusals(self, groups: Iterable[Group]) -> Iterator[tuple[Group, str | None]]:
        """Every group with what the chat template says where it refuses the prompt. Nothing is
        tokenised."""
        waiting = iter(groups)
        while batch := list(islice(waiting, 64)):
            openings = [
                _opening(group.prompt) for group in batch if not isinstance(group.prompt, str)
            ]
            texts = iter(self._rendered(openings) if openings else [])
            for group in batch:
                text = group.prompt if isinstance(group.prompt, str) else next(texts)
                yield (
                    group,
                    self._refused(text).cause if isinstance(text, rendering.Refusal) else None,
                )

    def require(self, groups: Iterable[Group]) -> None:
        """Raise `TemplateRefused`, which names the row, where the template refuses the prompt of
        one of them."""
        for group, cause in self.refusals(groups):
            if cause is not None:
                raise TemplateRefused(cause, group.source or group.id)

    def group(self, group: Group, ledger: Ledger) -> Encoded | None:
        """Token ids of a group within the limits; None (and a line in the ledger) where it cannot
        be used.

        Responses that do not fit, or are alike after the cut, take only their own comparisons with
        them, as long as two different responses and a known comparison (where any is known) remain:
        `Encoded.usable` says which. A response labelled by itself needs no other, and only has to
        fit.
        """
        try:
            prompt, responses = (
                self.prompt(group.prompt),
                self.responses(group.prompt, group.responses),
            )
        except TemplateRefused as error:
            ledger.drop(Reason.TEMPLATE_REFUSED, group.source, group.id, error.cause)
            return None
        if left_out := self.left_out(group.prompt):
            ledger.change("tools_left_out", group.source, group.id, left_out)
        longest, limit = self.lengths.max_prompt, self.lengths.max_response
        if longest is not None and len(prompt) > longest:
            ledger.change(
                "prompt_cut",
                group.source,
                group.id,
                f"{len(prompt)} tokens cut to the last {longest}",
            )
            prompt = prompt[-longest:]
        if any(len(r) > limit for r in responses):
            ledger.change(
                "response_cut",
                group.source,
                group.id,
                f"{max(map(len, responses))} tokens cut to {limit}",
            )
            responses = [r[:limit] for r in responses]
        room = math.inf if self.context is None else self.context - len(prompt)
        encoded = Encoded(group, prompt, tuple(r if len(r) <= room else () for r in responses))
        losses = []
        if not all(encoded.responses):
            most = max(map(len, responses))
            detail = (
                f"{len(prompt)} + {most} tokens, the model reads {self.context}: set max_prompt"
            )
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

    def continued(self, text: str) -> list[int]:
        """Tokens of a text that another stands before: without the space some tokenizers put in
        front of every text."""
        if self._spaced:
            before, both = self._tokens("\n"), self._tokens("\n" + text)
            if both[: len(before)] == before:
                return both[len(before) :]
        return self._tokens(text)

    def _replies(self, prompt: Sequence[Message], texts: Sequence[str]) -> list[list[int]]:
        """Tokens of the responses to a conversation, up to the end of the turn.

        Where the template writes the prompt, or the response, in another way with a response than
        without, they are the tokens of the response's own text.
        """
        end, opening = self._end_of_turn, self._opening_text(prompt)
        wholes = self._render([_closed(prompt, text) for text in texts])
        replies = []
        for text, whole in zip(texts, wholes, strict=True):
            reply = whole.removeprefix(opening)
            as_given = whole.startswith(opening) and reply.lstrip().startswith(text.strip())
            if not as_given or end is None:
                replies.append(self.continued(text))
                continue
            ids = self._behind(opening, reply)
            replies.append(ids[: _last(ids, end)])
        return replies

    def _behind(self, before: str, text: str) -> list[int]:
        """Tokens of a text behind another, without a token that reaches into both: generation
        cannot make one."""
        if self._spaced:
            ids, both = self._tokens(before), self._tokens(before + text)
            if both[: len(ids)] == ids:
                return both[len(ids) :]
        return self.continued(text)

    @cached_property
    def _spaced(self) -> bool:
        """Whether the tokenizer puts a space in front of every text, as those of Llama 2 and
        Mistral do."""
        return self._tokens("\na")[len(self._tokens("\n")) :] != self._tokens("a")

    @cached_property
    def _appended(self) -> int:
        """How many special tokens the tokenizer puts behind every text; a prompt is not the end."""
        bare, whole = self._tokens("a"), self._tokens("a", special=True)
        extra = range(len(whole) - len(bare) + 1)
        return next(
            (len(whole) - len(bare) - k for k in extra if whole[k : k + len(bare)] == bare), 0
        )

    @property
    def _eos(self) -> int:
        eos: int | None = self.tokenizer.eos_token_id
        if eos is None:
            raise UserError(
                f"{self._name}: its tokenizer has no end token, and a response has to end; name one as eos_token in "
                "its tokenizer_config.json"
            )
        return eos

    @property
    def _name(self) -> str:
        return self.tokenizer.name_or_path or "the model"

    def _opening_text(self, prompt: Sequence[Message], continues: bool = True) -> str:
        """A conversation up to the reply; the last one is kept, as its responses are asked for
        next."""
        asked = (tuple(prompt), continues)
        if self._opened is None or self._opened[0] != asked:
            (text,) = self._render([_opening(prompt, continues=continues)])
            self._opened = (asked, text)
        return self._opened[1]

    def _render(self, conversations: Sequence[dict[str, Any]]) -> list[str]:
        """The texts of conversations, which are arguments of `rendering.render`.

        Raises:
            TemplateRefused: the template does not render one of them.
            UserError: there is no template, or it renders nothing.
        """
        rendered = []
        for text in self._rendered(conversations):
            if isinstance(text, rendering.Refusal):
                raise self._refused(text)
            rendered.append(text)
        return rendered

    def _refused(self, refusal: rendering.Refusal) -> TemplateRefused:
        """The error for a conversation that is refused; raises another where the template fails
        with any."""
        _ = self._example
        return TemplateRefused(" ".join(refusal.cause.split())[:200].rstrip("."))

    def _rendered(self, conversations: Sequence[dict[str, Any]]) -> list[str | rendering.Refusal]:
        if self.tokenizer.chat_template is None:
            raise UserError(
                "the data holds conversations but the tokenizer has no chat template: "
                "use an instruction-tuned model, set tokenizer.chat_template, or give plain-text prompts"
            )
        try:
            texts: list[str | rendering.Refusal] = []
            for template, run in groupby(conversations, key=self._template):
                texts += rendering.render(template, list(run), self.tokenizer.special_tokens_map)
            return texts
        except (rendering.RenderingError, ValueError) as error:
            raise self._broken(str(error)) from error

    def _template(self, conversation: dict[str, Any]) -> str:
        """The chat template; some tokenizers have one of their own for tools."""
        template: str = self.tokenizer.get_chat_template(tools=conversation.get("tools"))
        return template

    def _broken(self, cause: str) -> UserError:
        line = " ".join(cause.split())[:200].rstrip(".")
        return UserError(
            f"{self._name}: its chat template does not work ({line}); mend the template, or take another"
        )

    def left_out(self, prompt: Prompt) -> str:
        """Say which of tools and calls of tools the chat template does not read: it renders the
        same without.

        Empty where it reads all there is of them.
        """
        if isinstance(prompt, str) or not any(message.extras for message in prompt):
            return ""
        whole = self._rendered([_opening(prompt)])
        left_out = []
        for key in ("tools", "tool_calls"):
            if not any(key in message.turn() for message in prompt):
                continue
            bare = [message.without(key) for message in prompt]
            if self._rendered([_opening(bare)]) == whole:
                left_out.append(key)
        return f"the chat template does not read {' and '.join(left_out)}" if left_out else ""

    @cached_property
    def _example(self) -> str | None:
        """What the template makes of a question and `ANSWER`; None where it refuses even them."""
        question = Message("user", "Question")
        whole, opening = self._rendered([_closed((question,), ANSWER), _opening((question,))])
        for text in (whole, opening):
            if isinstance(text, rendering.Refusal) and not text.meant:
                raise self._broken(text.cause)
        return whole if isinstance(whole, str) else None

    @cached_property
    def _end_of_turn(self) -> int | None:
        """The special token that the template puts after a reply; None where it puts none."""
        if self._example is None:
            return None
        tail = self._tokens(self._example.rpartition(ANSWER)[2])
        added = (
            self.tokenizer.added_tokens_decoder
        )  # has those, too, that carry no name such as "eos_token"
        special = {
            *self.tokenizer.all_special_ids,
            *(i for i, token in added.items() if token.special),
        }
        return next((t for t in tail if t in special), None)


ANSWER = "An answer in words"


def _opening(prompt: Sequence[Message], *, continues: bool = True) -> dict[str, Any]:
    """A conversation up to the reply. An assistant's turn at its end is the beginning of the reply,
    as TRL has it."""
    turns, tools = turns_and_tools(prompt)
    begun = continues and _begun(prompt)
    return {
        "messages": turns,
        "tools": tools,
        "add_generation_prompt": not begun,
        "continue_final_message": begun,
    }


def _closed(prompt: Sequence[Message], text: str) -> dict[str, Any]:
    """A conversation with its reply."""
    turns, tools = turns_and_tools(prompt)
    if _begun(prompt):
        turns[-1]["content"] += text
    else:
        turns.append({"role": "assistant", "content": text})
    return {"messages": turns, "tools": tools}


def _begun(prompt: Sequence[Message]) -> bool:
    """Whether a conversation ends with the beginning of the reply."""
    return bool(prompt) and prompt[-1].role == "assistant" and "tool_calls" not in prompt[-1].turn()


def _ended(ids: list[int], end: int) -> list[int]:
    return ids if ids and ids[-1] == end else [*ids, end]


def _last(ids: list[int], token: int) -> int:
    """Where a token stands last; behind all where it does not."""
    return next((i for i in reversed(range(len(ids))) if ids[i] == token), len(ids))


def _with_suffix(text: str, suffix: str) -> str:
    return text if text.endswith(suffix) else text + suffix
