"""From a group to the token texts that a scorer reads.

A *reading* is a prompt's tokens followed by those of the one (score) or two (difference) responses
read after it, all special tokens and labels included: their concatenation is what the model sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from rewarddiff.chat_template import TemplateRefused
from rewarddiff.encoding import Encoder, LengthConfig, ReadGroups
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message, Prompt, prompt_text
from rewarddiff.store import fingerprint
from rewarddiff.tokenizing import (
    Asked,
    Read,
    Tokenizing,
    ahead,
    tokenizer_fingerprint,
    tokens_of,
    windows,
)

Tokens = tuple[int, ...]
Reading = tuple[Tokens, ...]

Way = Literal["whole", "apart"]
"""How a response that is read by itself becomes tokens: see `DecoderTexts`."""

PAGES = 1024
"""Pages that are remembered: what is read is also looked at for what was cut."""

LABELS = ("Query:", "; Response 1:", "; Response 2:")
"""The paper's joint text is `Query: {x}; Response 1: {y1}; Response 2: {y2}`."""


@dataclass(frozen=True, slots=True)
class Page:
    """A group as token ids, within the limits for prompt and response.

    It is not yet fitted to the model's context.

    Attributes:
        prompts: what stands before each response. It is the same for all, unless the tokenizer makes
            one token of the end of the prompt and the beginning of a response: that token is the
            response's.
        responses: the rest.
        cut: which of "prompt", "response" lost tokens to the limits.
    """

    prompts: tuple[Tokens, ...]
    responses: tuple[Tokens, ...]
    cut: frozenset[str] = frozenset()


def fit(lengths: Sequence[int], budget: int) -> list[int]:
    """Return lengths with the longest lowered, evenly, until they fit.

    That is min(n, level) with the highest level that does.

    >>> fit([100, 40, 300], 200)
    [80, 40, 80]
    """
    if sum(lengths) <= budget:
        return list(lengths)
    level, too_high = 0, max(lengths)
    while too_high - level > 1:
        middle = (level + too_high) // 2
        if sum(min(n, middle) for n in lengths) <= budget:
            level = middle
        else:
            too_high = middle
    return [min(n, level) for n in lengths]


class Texts(ABC):
    """Readings for one tokenizer; how prompt and responses are framed is the subclasses' part.

    Args:
        context: positions the model has, None where it has no limit.
        joint: whether readings hold two responses.
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
        self._rooms: dict[int, int | None] = {}
        self._pages: dict[tuple[Prompt, tuple[str, ...]], Page] = {}
        room = self.room(1 + joint)
        if room is not None and room < 16:
            raise UserError(
                f"the model reads only {context} positions, too few for text: "
                "choose another backbone"
            )

    @abstractmethod
    def prompt(self, prompt: Prompt) -> Tokens: ...

    @abstractmethod
    def response(self, prompt: Prompt, text: str) -> Tokens: ...

    @property
    def has_template(self) -> bool:
        """Whether conversations are written by a chat template; else they are read as plain text."""
        return False

    def left_out(self, prompt: Prompt) -> str:
        """Return what of the prompt's tools is not read, as `Encoder.left_out` says it.

        Readable text holds all of them.
        """
        return ""

    @property
    def fingerprint(self) -> str:
        """A hash of what a page depends on besides its texts."""
        limits = (self.joint, asdict(self.lengths), self.context)
        return fingerprint(type(self).__name__, limits, tokenizer_fingerprint(self.tokenizer))

    def read_ahead(self, groups: Iterable[Group]) -> Iterator[Group]:
        """Yield groups whose pages are then to be made: their texts are read at once, and before."""
        for window, texts in ahead(windows(groups), self._read):
            with self._holding(texts):
                yield from window

    @abstractmethod
    def _read(self, groups: Sequence[Group]) -> Any:
        """Return the tokens of groups for `_holding`: it changes nothing, and may be done beside."""

    @abstractmethod
    def _holding(self, texts: Any) -> AbstractContextManager[None]:
        """Take what was read of groups as their tokens."""

    @abstractmethod
    def frame(self, prompt: Tokens, responses: Sequence[Tokens]) -> Reading:
        """Put labels and special tokens around the parts."""

    def room(self, responses: int) -> int | None:
        """Return the positions left for a prompt and so many responses.

        None where the model has no limit.
        """
        if responses not in self._rooms:
            frame = self.frame((), ((),) * responses)
            taken = sum(map(len, frame))
            self._rooms[responses] = None if self.context is None else self.context - taken
        return self._rooms[responses]

    def parts(self, group: Group) -> list[tuple[Tokens, Tokens]]:
        """Return the tokens of prompt and response, for each response, without a limit."""
        prompt = self.prompt(group.prompt)
        return [(prompt, self.response(group.prompt, text)) for text in group.responses]

    def page(self, group: Group) -> Page:
        """Return the group as tokens; of the last ones asked for, those are remembered.

        Raises:
            TemplateRefused: naming the row.
        """
        key = (group.prompt, tuple(group.responses))
        if key not in self._pages:
            page = self._page(group)
            if len(self._pages) >= PAGES:
                self._pages.clear()
            self._pages[key] = page
        return self._pages[key]

    def _page(self, group: Group) -> Page:
        try:
            parts = self.parts(group)
        except TemplateRefused as error:
            raise TemplateRefused(error.cause, group.source or group.id) from error
        limit = self.lengths.max_response
        prompts = []
        responses = []
        cut = set()
        for prompt, response in parts:
            longest = self.lengths.max_prompt or len(prompt)
            if len(prompt) > longest:
                cut.add("prompt")
            if len(response) > limit:
                cut.add("response")
            prompts.append(prompt[-longest:])
            responses.append(response[:limit])
        return Page(tuple(prompts), tuple(responses), frozenset(cut))

    def reading(self, page: Page, *responses: int) -> Reading:
        """Return the text that shows these responses, in this order."""
        kept, *sizes = self._fitted(page, responses)
        prompt = page.prompts[responses[0]]
        prompt = prompt[len(prompt) - kept :]
        shown = []
        for response, size in zip(responses, sizes, strict=True):
            shown.append(page.responses[response][:size])
        return self.frame(prompt, shown)

    def cut(self, page: Page, *responses: int) -> set[str]:
        """Return which of "prompt", "response" `reading` cuts for want of room."""
        kept, *sizes = self._fitted(page, responses)
        cut = set()
        if kept < len(page.prompts[responses[0]]):
            cut.add("prompt")
        for response, size in zip(responses, sizes, strict=True):
            if size < len(page.responses[response]):
                cut.add("response")
        return cut

    def _fitted(self, page: Page, responses: Sequence[int]) -> list[int]:
        """Return how many tokens are kept of the prompt and of each response."""
        lengths = [len(page.prompts[responses[0]])] + [len(page.responses[i]) for i in responses]
        room = self.room(len(responses))
        return lengths if room is None else fit(lengths, room)


class DecoderTexts(Texts):
    """One response: prompt and response as one text. Two: the paper's joint text.

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
        first, *others = LABELS
        self._labels = [self._encoder.prompt(first), *map(self._continued, others)]
        self.way = way
        self.padding: int | None = None
        super().__init__(tokenizer, lengths, context, joint=joint)

    def parts(self, group: Group) -> list[tuple[Tokens, Tokens]]:
        if self.joint or self.way == "apart":
            return super().parts(group)
        prompt = self._encoder.prompt(group.prompt)
        parts = []
        for whole in self._encoder.wholes(group.prompt, group.responses):
            tokens = self._unpadded(whole)
            # Where the prompt ends does not hang on the other responses. Each has a token of its own.
            end = min(_common(prompt, tokens), len(tokens) - 1)
            parts.append((tokens[:end], tokens[end:]))
        return parts

    @property
    def fingerprint(self) -> str:
        return fingerprint(super().fingerprint, self.way, self._end, self.padding)

    def _read(self, groups: Sequence[Group]) -> ReadGroups:
        if not self.joint:
            return self._encoder.read(groups, whole=self.way == "whole")
        texts = []
        for group in groups:
            texts.append(" " + prompt_text(group.prompt))
            texts += [" " + response for response in group.responses]
        return self._encoder.read_continued(texts)

    def _holding(self, texts: ReadGroups) -> AbstractContextManager[None]:
        return self._encoder.holding(texts)

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
        ids = tuple(tokens_of(self.tokenizer, [text])[0])
        if ids[-1:] == (end,):
            return ids
        return (*ids, end)

    @property
    def has_template(self) -> bool:
        return bool(self.tokenizer.chat_template) and not self.joint

    def left_out(self, prompt: Prompt) -> str:
        return "" if self.joint else self._encoder.left_out(prompt)

    def frame(self, prompt: Tokens, responses: Sequence[Tokens]) -> Reading:
        if not self.joint:
            return (prompt, *responses) if prompt else tuple(responses)
        labelled = zip(self._labels, (prompt, *responses), strict=True)
        return tuple(label + part for label, part in labelled)

    @property
    def ends(self) -> set[int]:
        """The tokens that end readings, of plain prompts and of conversations."""
        prompts: list[Prompt] = [""]
        if self.tokenizer.chat_template:
            prompts.append((Message("user", "Question"),))
        ends = set(self._encoder.ends(prompts))
        if self.way == "whole":
            for prompt in prompts:
                (whole,) = self._encoder.wholes(prompt, ["Answer"])
                ends.add(whole[-1])
        return ends

    def _unpadded(self, tokens: Tokens) -> Tokens:
        """Return the tokens up to the one at which transformers reads."""
        length = len(tokens)
        while length > 1 and tokens[length - 1] == self.padding:
            length -= 1
        return tokens[:length]

    def _continued(self, text: str) -> Tokens:
        """Return the tokens of a text that another stands before, without an end token."""
        ids = self._encoder.continued(text)
        if ids and ids[-1] == self.tokenizer.eos_token_id:
            ids = ids[:-1]
        return tuple(ids)


def _common(one: Tokens, other: Tokens) -> int:
    """Return how many tokens two texts have in common at their beginning."""
    common = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        common += 1
    return common


class EncoderTexts(Texts):
    """`[CLS] prompt [SEP] response [SEP]`, with a second response and separator after it.

    That is the tokenizer's way with pairs. Conversations are read as plain text. Every response
    closes with its separator and is read as the pair's second text, so a response looks the same
    alone, first and second.
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
        frames = _special_runs(pair.input_ids, pair.special_tokens_mask)
        if len(frames) != 3:
            raise UserError(
                f"{tokenizer.name_or_path}: its tokenizer frames no pairs of texts; "
                "use another backbone"
            )
        self._open, self._between, self._close = frames
        types = pair.get("token_type_ids", [0])
        self.types = (types[0], types[-1])
        self._tokenizing = Tokenizing(tokenizer)
        super().__init__(tokenizer, lengths, context, joint=joint)

    def prompt(self, prompt: Prompt) -> Tokens:
        return self._tokens(prompt_text(prompt))

    def response(self, prompt: Prompt, text: str) -> Tokens:
        return self._tokens(text)

    def _read(self, groups: Sequence[Group]) -> Read:
        texts = []
        for group in groups:
            texts += [prompt_text(group.prompt), *group.responses]
        return self._tokenizing.read(map(Asked, texts))

    def _holding(self, texts: Read) -> AbstractContextManager[None]:
        return self._tokenizing.holding(texts)

    def _tokens(self, text: str) -> Tokens:
        return tuple(self._tokenizing.tokens(text))

    def frame(self, prompt: Tokens, responses: Sequence[Tokens]) -> Reading:
        *earlier, last = responses
        framed = [self._open + prompt + self._between]
        framed += [response + self._between for response in earlier]
        framed.append(last + self._close)
        return tuple(framed)


def _special_runs(ids: Sequence[int], is_special: Sequence[int]) -> list[Tokens]:
    """Return the runs of special tokens that stand around a pair of texts."""
    runs = []
    marked = zip(is_special, ids, strict=True)
    for special, run in groupby(marked, key=lambda token: token[0]):
        if special:
            runs.append(tuple(token for _, token in run))
    return runs
