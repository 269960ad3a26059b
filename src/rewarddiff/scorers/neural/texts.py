"""From a group to the token texts that a scorer reads.

A *reading* is a prompt's tokens followed by those of the one (score) or two (difference) responses
read after it, all special tokens and labels included: their concatenation is what the model sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from rewarddiff.chat_template import TemplateRefused
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message, Prompt, prompt_text

Tokens = tuple[int, ...]
Reading = tuple[Tokens, ...]

Way = Literal["whole", "apart"]
"""How a response that is read by itself becomes tokens: see `DecoderTexts`."""

LABELS = ("Query:", "; Response {}:")
"""The paper's joint text is `Query: {x}; Response 1: {y1}; Response 2: {y2}`."""


@dataclass(frozen=True, slots=True)
class Page:
    """A group as token ids, within the limits for prompt and response but not yet fitted to the
    model's context.

    `cut` says which of "prompt", "response" lost tokens to the limits.
    """

    prompt: Tokens
    responses: tuple[Tokens, ...]
    cut: frozenset[str] = frozenset()


def fit(lengths: Sequence[int], budget: int) -> list[int]:
    """Lengths with the longest lowered, evenly, until they fit: min(n, level) with the highest
    level that does.

    >>> fit([100, 40, 300], 200)
    [80, 40, 80]
    """
    if sum(lengths) <= budget:
        return list(lengths)
    low, high = 0, max(lengths)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if sum(min(n, middle) for n in lengths) <= budget else (low, middle)
        )
    return [min(n, low) for n in lengths]


class Texts(ABC):
    """Readings for one tokenizer; how prompt and responses are framed is the subclasses' part.

    Args:
        context: positions the model has, None where it has no limit.
        joint: whether readings hold two responses or more.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        lengths: LengthConfig,
        context: int | None,
        *,
        joint: bool,
    ) -> None:
        self.tokenizer: Any = tokenizer
        self.lengths = lengths
        self.joint = joint
        self.context = context
        room = self.room(1 + joint)
        if room is not None and room < 16:
            raise UserError(
                f"the model reads only {context} positions, too few for text: choose another backbone"
            )

    @abstractmethod
    def prompt(self, prompt: Prompt) -> Tokens: ...

    @abstractmethod
    def response(self, prompt: Prompt, text: str) -> Tokens: ...

    def left_out(self, prompt: Prompt) -> str:
        """What of the prompt's tools is not read, as `Encoder.left_out` says it; readable text
        holds all of them."""
        return ""

    @abstractmethod
    def frame(self, prompt: Tokens, responses: Sequence[Tokens]) -> Reading:
        """Labels and special tokens put around the parts."""

    def room(self, responses: int) -> int | None:
        """Positions left for a prompt and so many responses; None where the model has no limit."""
        return (
            None
            if self.context is None
            else self.context - sum(map(len, self.frame((), ((),) * responses)))
        )

    def parts(self, group: Group) -> tuple[Tokens, list[Tokens]]:
        """Tokens of the prompt and of each response, without a limit."""
        return self.prompt(group.prompt), [
            self.response(group.prompt, text) for text in group.responses
        ]

    def page(self, group: Group) -> Page:
        """The group as tokens.

        Raises:
            TemplateRefused: naming the row.
        """
        try:
            prompt, responses = self.parts(group)
        except TemplateRefused as error:
            raise TemplateRefused(error.cause, group.source or group.id) from error
        longest, limit = self.lengths.max_prompt or len(prompt), self.lengths.max_response
        cut = {"prompt"} if len(prompt) > longest else set()
        cut |= {"response"} if any(len(r) > limit for r in responses) else set()
        return Page(prompt[-longest:], tuple(r[:limit] for r in responses), frozenset(cut))

    def reading(self, page: Page, *responses: int) -> Reading:
        """The text that shows these responses, in this order: one for a reward model, two for a
        difference model."""
        keep, *others = self._fitted(page, responses)
        prompt = page.prompt[len(page.prompt) - keep :]
        return self.frame(
            prompt, tuple(page.responses[i][:n] for i, n in zip(responses, others, strict=True))
        )

    def cut(self, page: Page, *responses: int) -> set[str]:
        """Which of "prompt", "response" `reading` shows without their last or first tokens, for
        want of room."""
        keep, *others = self._fitted(page, responses)
        cut = {"prompt"} if keep < len(page.prompt) else set()
        return cut | {
            "response" for i, n in zip(responses, others, strict=True) if n < len(page.responses[i])
        }

    def _fitted(self, page: Page, responses: Sequence[int]) -> list[int]:
        """Tokens kept of the prompt and of each response."""
        lengths = [len(page.prompt), *(len(page.responses[i]) for i in responses)]
        room = self.room(len(responses))
        return lengths if room is None else fit(lengths, room)


class DecoderTexts(Texts):
    """One response: prompt and response as one text. Two, or more: the paper's joint text.

    A response that is read by itself ends where transformers' sequence classification reads: at the
    last token that is not padding. Way whole is that of TRL's RewardTrainer, and of the text that
    `apply_chat_template` writes, to its end. Way apart is how scorers were once trained: prompt and
    response tokenised apart, up to the end token.

    Args:
        closed: end both responses of the joint text with the end token, where a shared head reads
            them.

    Attributes:
        padding: of a sequence classification model, the token that it takes for padding.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        lengths: LengthConfig,
        context: int | None,
        *,
        joint: bool,
        closed: bool = False,
        way: Way = "whole",
    ) -> None:
        self._encoder = Encoder(tokenizer, lengths)
        self.tokenizer = tokenizer
        end = tokenizer.eos_token_id
        self._end: Tokens = (end,) if closed and isinstance(end, int) else ()
        self._labels: list[Tokens] = [self._encoder.prompt(LABELS[0])]
        self.way = way
        self.padding: int | None = None
        super().__init__(tokenizer, lengths, context, joint=joint)

    def parts(self, group: Group) -> tuple[Tokens, list[Tokens]]:
        if self.joint or self.way == "apart":
            return super().parts(group)
        prompt = self._encoder.prompt(group.prompt)
        readings = [
            self._unpadded(tokens) for tokens in self._encoder.wholes(group.prompt, group.responses)
        ]
        # What all of them begin with, as far as it is the prompt; each has at least one token of
        # its own.
        shared = min(
            (min(_common(prompt, tokens), len(tokens) - 1) for tokens in readings),
            default=len(prompt),
        )
        return prompt[:shared], [tokens[shared:] for tokens in readings]

    def prompt(self, prompt: Prompt) -> Tokens:
        if self.joint:
            return self._continued(" " + prompt_text(prompt))
        return self._encoder.prompt(prompt, continues=False)

    def response(self, prompt: Prompt, text: str) -> Tokens:
        if self.joint:
            return self._continued(" " + text) + self._end
        if isinstance(prompt, str):
            return self._encoder.response(prompt, text)
        end = self._encoder.end_of(prompt)
        ids: Tokens = tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
        return ids if ids[-1:] == (end,) else (*ids, end)

    def left_out(self, prompt: Prompt) -> str:
        return "" if self.joint else self._encoder.left_out(prompt)

    def frame(self, prompt: Tokens, responses: Sequence[Tokens]) -> Reading:
        if not self.joint:
            return (prompt, *responses) if prompt else tuple(responses)
        for n in range(len(self._labels), len(responses) + 1):
            self._labels.append(self._continued(LABELS[1].format(n)))
        return tuple(
            label + part for label, part in zip(self._labels, (prompt, *responses), strict=False)
        )

    @property
    def ends(self) -> set[int]:
        """The tokens that end readings, of plain prompts and of conversations."""
        prompts: list[Prompt] = [""]
        if self.tokenizer.chat_template:
            prompts.append((Message("user", "Question"),))
        ends = set(self._encoder.ends(prompts))
        if self.way == "whole":
            ends |= {
                whole[-1]
                for prompt in prompts
                for whole in self._encoder.wholes(prompt, ["Answer"])
            }
        return ends

    def _unpadded(self, tokens: Tokens) -> Tokens:
        """The tokens up to the one at which transformers reads."""
        length = len(tokens)
        while length > 1 and tokens[length - 1] == self.padding:
            length -= 1
        return tokens[:length]

    def _continued(self, text: str) -> Tokens:
        """Tokens of a text that another stands before, without an end token."""
        ids = self._encoder.continued(text)
        return tuple(ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids)


def _common(one: Tokens, other: Tokens) -> int:
    """How many tokens two texts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


class EncoderTexts(Texts):
    """`[CLS] prompt [SEP] response [SEP]`, a further response and separator after it: the
    tokenizer's way with pairs.

    Conversations are read as plain text. Every response closes with its separator and is read as
    the pair's second text, so a response looks the same alone, first and second.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        lengths: LengthConfig,
        context: int | None,
        *,
        joint: bool,
    ) -> None:
        pair: Any = tokenizer("a", "b", return_special_tokens_mask=True)
        marked = zip(pair.special_tokens_mask, pair.input_ids, strict=True)
        special = [
            tuple(t for _, t in run)
            for is_special, run in groupby(marked, lambda p: p[0])
            if is_special
        ]
        if len(special) != 3:
            raise UserError(
                f"{tokenizer.name_or_path}: its tokenizer frames no pairs of texts; use another backbone"
            )
        self._open, self._between, self._close = special
        types = pair.get("token_type_ids", [0])
        self.types = (types[0], types[-1])
        super().__init__(tokenizer, lengths, context, joint=joint)

    def prompt(self, prompt: Prompt) -> Tokens:
        return self._tokens(prompt_text(prompt))

    def response(self, prompt: Prompt, text: str) -> Tokens:
        return self._tokens(text)

    def _tokens(self, text: str) -> Tokens:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def frame(self, prompt: Tokens, responses: Sequence[Tokens]) -> Reading:
        *earlier, last = responses
        return (
            self._open + prompt + self._between,
            *(r + self._between for r in earlier),
            last + self._close,
        )
