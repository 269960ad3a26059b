"""Text to tokens: the tokenizer's own chat template, one BOS, one EOS, and cuts that are counted.

A policy's prompt and response are tokenised apart, as at generation the prompt comes first. What a
scorer reads is tokenised whole (`Encoder.wholes`), as TRL and transformers do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from transformers import PreTrainedTokenizerBase

from rewarddiff.chat_template import ChatTemplate, Rendering, TemplateRefused
from rewarddiff.config import at_least, checked
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.encoded import Encoded, count_losses, losses_of
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message, Prompt, Rendered
from rewarddiff.store import fingerprint
from rewarddiff.tokenizing import (
    Asked,
    Read,
    Tokenizing,
    ahead,
    text_of,
    tokenizer_fingerprint,
    windows,
)

Thing = TypeVar("Thing")

BATCH = 64
"""Conversations rendered at a time where all that is asked is which are refused."""


@checked
@dataclass(frozen=True)
class LengthConfig:
    """Token limits: a prompt beyond `max_prompt` keeps its end, a response its beginning.

    `max_prompt: null` cuts no prompt: one that does not fit the model's context is dropped, and
    counted.
    """

    max_prompt: int | None = None
    max_response: int = 512

    def __post_init__(self) -> None:
        at_least(self, 1, "max_prompt", "max_response")


class ReadGroups(NamedTuple):
    """What was read of groups before they are asked for: conversations rendered, and tokens."""

    rendered: Rendering
    tokens: Read


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
        self._template = ChatTemplate(tokenizer)
        self._tokenizing = Tokenizing(tokenizer)
        if context is not None and (lengths.max_prompt or 1) + lengths.max_response > context:
            raise UserError(
                f"max_prompt {lengths.max_prompt} + max_response {lengths.max_response} is beyond "
                f"the model's context of {context} positions: lower max_prompt or max_response"
            )

    def prompt(self, prompt: Prompt, *, continues: bool = True) -> tuple[int, ...]:
        """Return a plain text's tokens with BOS once; a conversation's up to the reply.

        Args:
            continues: a conversation that ends with an assistant's turn ends with the beginning of
                the reply; otherwise another turn follows.
        """
        if not isinstance(prompt, str):
            ids = self._tokens(self._template.opening(prompt, continues))
            if not ids:
                raise TemplateRefused("it writes nothing of it")
            return tuple(ids)
        if isinstance(prompt, Rendered):
            return tuple(self._tokens(prompt))
        ids = self._tokens(prompt, special=True)
        ids = ids[: len(ids) - self._appended]
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            ids = ids[1:]
        if not ids:
            ids = [self._eos if bos is None else bos]
        return tuple(ids)

    def response(self, prompt: Prompt, text: str) -> tuple[int, ...]:
        """Return the response and one end token: EOS, or a conversation's end of turn."""
        return self.responses(prompt, [text])[0]

    def responses(self, prompt: Prompt, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return several responses' tokens, as `response` does.

        A conversation's are spaced and trimmed as its template does.
        """
        if isinstance(prompt, str):
            responses = [self.continued(text) for text in texts]
        else:
            responses = self._replies(prompt, texts)
        end = self.end_of(prompt)
        return [tuple(_ended(ids, end)) for ids in responses]

    def wholes(self, prompt: Prompt, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return prompt and response as one text's tokens, as TRL's RewardTrainer makes of a row.

        A conversation is all that the template writes, also behind the end of the last turn. Plain
        text is closed with EOS, and has the special tokens that the tokenizer adds.
        """
        wholes, special = self._whole_texts(prompt, texts)
        return [tuple(self._tokens(whole, special=special)) for whole in wholes]

    def _whole_texts(self, prompt: Prompt, texts: Sequence[str]) -> tuple[list[str], bool]:
        """Return the texts that `wholes` reads, and whether special tokens are added to them."""
        if not isinstance(prompt, str):
            return self._template.wholes(prompt, texts), False
        if isinstance(prompt, Rendered):
            # The template has written the special tokens, BOS too, and the end of the last turn.
            return [prompt + text for text in texts], False
        eos = self.tokenizer.convert_ids_to_tokens(self._eos)
        return [(prompt + text).removesuffix(eos) + eos for text in texts], True

    def fitting(self, prompt: Prompt, response: int) -> tuple[int, ...]:
        """Return a prompt's tokens, cut at its beginning so that `response` more tokens fit."""
        if self.context is not None and response >= self.context:
            raise UserError(
                f"{response} new tokens leave no room for a prompt: "
                f"the model reads {self.context} positions; lower max_new_tokens"
            )
        ids = self.prompt(prompt)
        if self.lengths.max_prompt is not None:
            ids = ids[-self.lengths.max_prompt :]
        if self.context is not None:
            ids = ids[response - self.context :]
        return ids

    def end_of(self, prompt: Prompt) -> int:
        """Return the token that ends a response to this prompt."""
        if isinstance(prompt, str) or self._template.end_of_turn is None:
            return self._eos
        return self._template.end_of_turn

    def ends(self, prompts: Iterable[Prompt]) -> list[int]:
        """Return the tokens that end responses to these prompts, and EOS where there is one."""
        ends = {self.end_of(prompt) for prompt in prompts}
        if self.tokenizer.eos_token_id is not None:
            ends.add(self.tokenizer.eos_token_id)
        return sorted(ends)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what tokens depend on besides the text: tokenizer, chat template, and limits."""
        limits = (asdict(self.lengths), self.context)
        return fingerprint(limits, tokenizer_fingerprint(self.tokenizer))

    def left_out(self, prompt: Prompt) -> str:
        """Say what of its tools the chat template does not read; empty: it reads all."""
        return self._template.left_out(prompt)

    def refusals(self, groups: Iterable[Group]) -> Iterator[tuple[Group, str | None]]:
        """Yield every group with what the chat template says where it refuses the prompt."""
        rest = iter(groups)
        while batch := list(islice(rest, BATCH)):
            refusals = self._template.refusals(group.prompt for group in batch)
            for group in batch:
                yield group, refusals.get(group.prompt)

    def require(self, groups: Iterable[Group]) -> None:
        """Raise `TemplateRefused`, naming the row, where the template refuses one's prompt."""
        for group, cause in self.refusals(groups):
            if cause is not None:
                raise TemplateRefused(cause, group.source or group.id)

    def group(self, group: Group, ledger: Ledger) -> Encoded | None:
        """Return a group's tokens within the limits; None, and counted, where it is of no use.

        Responses that do not fit, or are alike after the cut, take only their own comparisons with
        them, as long as two different responses and a known comparison (where any is known) remain:
        `Encoded.usable` says which. A response labelled by itself needs no other, and only has to
        fit.
        """
        try:
            prompt = self.prompt(group.prompt)
            responses = self.responses(group.prompt, group.responses)
        except TemplateRefused as error:
            ledger.drop(Reason.TEMPLATE_REFUSED, group, error.cause)
            return None
        left_out = self.left_out(group.prompt)
        if left_out:
            ledger.change(Reason.TOOLS_LEFT_OUT, group, left_out)
        longest = self.lengths.max_prompt
        if longest is not None and len(prompt) > longest:
            detail = f"{len(prompt)} tokens cut to the last {longest}"
            ledger.change(Reason.PROMPT_CUT, group, detail)
            prompt = prompt[-longest:]
        limit = self.lengths.max_response
        most = max(map(len, responses), default=0)
        if most > limit:
            ledger.change(Reason.RESPONSE_CUT, group, f"{most} tokens cut to {limit}")
            responses = [response[:limit] for response in responses]
        fitting = responses
        if self.context is not None:
            room = self.context - len(prompt)
            fitting = [response if len(response) <= room else () for response in responses]
        encoded = Encoded(group, prompt, tuple(fitting))
        losses = losses_of(encoded, responses, limit=limit, context=self.context)
        if not count_losses(encoded, losses, ledger):
            return None
        ledger.keep()
        return encoded

    def read_ahead(
        self, things: Iterable[Thing], group_of: Callable[[Thing], Group]
    ) -> Iterator[Thing]:
        """Yield things whose groups are then to be read: their texts are read at once, and before.

        Args:
            group_of: the group of a thing.
        """

        def read(window: Sequence[Thing]) -> ReadGroups:
            return self.read(list(map(group_of, window)))

        for window, texts in ahead(windows(things), read):
            with self.holding(texts):
                yield from window

    def groups(self, groups: Iterable[Group], ledger: Ledger) -> Iterator[Encoded]:
        """Yield the groups that can be used, as `group` returns them."""
        for group in self.read_ahead(groups, lambda group: group):
            encoded = self.group(group, ledger)
            if encoded is not None:
                yield encoded

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        return text_of(self.tokenizer, tokens)

    def continued(self, text: str, before: str = "\n") -> list[int]:
        """Return the tokens of a text behind another.

        They are without the space some tokenizers put in front of every text, and none reaches
        into both texts: generation cannot make such a token.
        """
        if self._spaced:
            for opening in (before, "\n"):
                ids, both = self._tokens(opening), self._tokens(opening + text)
                if both[: len(ids)] == ids:
                    return both[len(ids) :]
        return self._tokens(text)

    def _tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Return a text's tokens, which nobody may change."""
        return self._tokenizing.tokens(text, special=special)

    def read(self, groups: Sequence[Group], *, whole: bool = False) -> ReadGroups:
        """Return the texts of groups with their tokens, for `holding`.

        It changes nothing here, and may be done beside what this encoder is used for.

        Args:
            whole: as `wholes` reads them, and not responses by themselves.
        """
        reader = self._reader
        rendered = reader._template.render_ahead(groups)
        asked: list[Asked] = []
        for group in groups:
            with suppress(TemplateRefused):  # whoever reads the group says so
                asked += reader._asked_by(group, whole)
        return ReadGroups(rendered, self._tokenizing.read(asked))

    def read_continued(self, texts: Iterable[str]) -> ReadGroups:
        """Return texts as `continued` reads them, for `holding`."""
        asked: list[Asked] = []
        for text in texts:
            asked += self._asked_by_continued(text)
        return ReadGroups({}, self._tokenizing.read(asked))

    @contextmanager
    def holding(self, texts: ReadGroups) -> Iterator[None]:
        """Take what was read of groups as their tokens."""
        self._template.hold(texts.rendered)
        with self._tokenizing.holding(texts.tokens):
            yield

    def _asked_by(self, group: Group, whole: bool) -> Iterator[Asked]:
        """Yield the texts in which a group is tokenised."""
        prompt = group.prompt
        if isinstance(prompt, str):
            yield Asked(prompt, special=not isinstance(prompt, Rendered))
        else:
            yield Asked(self._template.opening(prompt))
        if whole:
            texts, special = self._whole_texts(prompt, group.responses)
            for text in texts:
                yield Asked(text, special)
        elif isinstance(prompt, str):
            for text in group.responses:
                yield from self._asked_by_continued(text)
        else:
            opening = self._template.opening(prompt)
            for text, is_turn in self._reply_texts(prompt, group.responses):
                yield from self._asked_by_continued(text, opening if is_turn else "\n")

    def _asked_by_continued(self, text: str, before: str = "\n") -> Iterator[Asked]:
        """Yield the texts that `continued` reads, as a rule."""
        if self._spaced:
            yield Asked(before)
            yield Asked(before + text)
        else:
            yield Asked(text)

    def _replies(self, prompt: tuple[Message, ...], texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of responses to a conversation, up to the end of the turn.

        Where the template writes the prompt, or the response, in another way with a response than
        without, they are the tokens of the response's own text.
        """
        end = self._template.end_of_turn
        opening = self._template.opening(prompt)
        replies = []
        for text, is_turn in self._reply_texts(prompt, texts):
            if is_turn and end is not None:
                replies.append(_before_last(self.continued(text, opening), end))
            else:
                replies.append(self.continued(text))
        return replies

    def _reply_texts(
        self, prompt: tuple[Message, ...], texts: Sequence[str]
    ) -> Iterator[tuple[str, bool]]:
        """Yield each response as the template writes it, to the end of the turn, or as it is given.

        With each stands whether it is as the template writes it.
        """
        opening = self._template.opening(prompt)
        for text, whole in zip(texts, self._template.wholes(prompt, texts), strict=True):
            reply = whole.removeprefix(opening)
            as_given = whole.startswith(opening) and reply.lstrip().startswith(text.strip())
            if as_given and self._template.end_of_turn is not None:
                yield reply, True
            else:
                yield text, False

    @cached_property
    def _reader(self) -> Encoder:
        """The encoder that reads ahead: conversations that it renders are not this one's."""
        reader = copy.copy(self)
        reader._template = ChatTemplate(self.tokenizer)
        return reader

    @cached_property
    def _spaced(self) -> bool:
        """Whether the tokenizer puts a space before every text, as Llama 2's and Mistral's do."""
        return self._tokens("\na")[len(self._tokens("\n")) :] != self._tokens("a")

    @cached_property
    def _appended(self) -> int:
        """How many special tokens the tokenizer puts behind every text; a prompt is not the end."""
        bare, whole = self._tokens("a"), self._tokens("a", special=True)
        added = len(whole) - len(bare)
        for before in range(added + 1):
            if whole[before : before + len(bare)] == bare:
                return added - before
        return 0

    @property
    def _eos(self) -> int:
        eos: int | None = self.tokenizer.eos_token_id
        if eos is None:
            raise UserError(
                f"{self._template.name}: its tokenizer has no end token, and a response has to "
                "end; name one as eos_token in its tokenizer_config.json"
            )
        return eos


def _ended(ids: list[int], end: int) -> list[int]:
    return ids if ids and ids[-1] == end else [*ids, end]


def _before_last(ids: list[int], token: int) -> list[int]:
    """Return what stands before the last of these tokens; all where there is none."""
    for place in reversed(range(len(ids))):
        if ids[place] == token:
            return ids[:place]
    return ids
