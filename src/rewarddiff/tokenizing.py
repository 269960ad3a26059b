"""Texts to tokens, many at once: while one window of groups is in use the next one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from transformers import PreTrainedTokenizerFast

from rewarddiff.errors import UserError, is_panic
from rewarddiff.store import fingerprint

Thing = TypeVar("Thing")
Work = TypeVar("Work")

WINDOW = 256
"""Groups whose texts are read at once: the tokenizer then uses all processors."""


class Asked(NamedTuple):
    """A text whose tokens are asked for, with the special ones that the tokenizer adds or without."""

    text: str
    special: bool = False


Read = Mapping[Asked, list[int]]
"""Texts with their tokens."""


class Tokenizing:
    """The tokens of texts by one tokenizer; those that were read before are not read again."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._held: Read = {}
        self._lock = Lock()

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Return a text's tokens, which nobody may change.

        Args:
            special: with the special tokens that the tokenizer adds.
        """
        ids = self._held.get(Asked(text, special))
        if ids is None:
            with self._lock:
                ids = tokens_of(self._tokenizer, [text], special=special)[0]
        return ids

    def read(self, asked: Iterable[Asked]) -> Read:
        """Return texts with their tokens, read at once; equal texts are read once."""
        read: dict[Asked, list[int]] = {}
        unique = dict.fromkeys(asked)
        for special in (True, False):
            of_kind = [one for one in unique if one.special == special]
            with self._lock:
                rows = tokens_of(self._tokenizer, [one.text for one in of_kind], special=special)
            read.update(zip(of_kind, rows, strict=True))
        return read

    @contextmanager
    def holding(self, read: Read) -> Iterator[None]:
        """Take these texts as read."""
        self._held = read
        try:
            yield
        finally:
            self._held = {}


def tokens_of(tokenizer: Any, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
    """Return the tokens of texts, read at once: the tokenizer then uses all processors.

    Raises:
        UserError: the tokenizer gives up, as where a pattern of its takes too long.
    """
    with _explained(tokenizer):
        return _tokens_of(tokenizer, texts, special)


def text_of(tokenizer: Any, tokens: Sequence[int], *, special: bool = False) -> str:
    """Return the text of tokens.

    Args:
        special: with that of special ones.

    Raises:
        UserError: the tokenizer gives up.
    """
    with _explained(tokenizer):
        text: str = tokenizer.decode(list(tokens), skip_special_tokens=not special)
        return text


@contextmanager
def _explained(tokenizer: Any) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        name = tokenizer.name_or_path or "the model"
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: its tokenizer gives up ({cause}); take another one") from error


def _tokens_of(tokenizer: Any, texts: Sequence[str], special: bool) -> list[list[int]]:
    if not texts:
        return []
    # The ordinary call also puts the tokenizer into the state in which the others are to be read.
    first: list[int] = tokenizer(texts[0], add_special_tokens=special).input_ids
    if len(texts) == 1:
        return [first]
    if not _reads_by_its_backend(tokenizer):
        rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=special).input_ids
        return rows
    # Without the places of tokens in the text it takes two thirds of the time.
    read = tokenizer.backend_tokenizer.encode_batch_fast
    rest = read(list(texts[1:]), add_special_tokens=special)
    return [first, *(encoding.ids for encoding in rest)]


def _reads_by_its_backend(tokenizer: Any) -> bool:
    """Tell whether the tokens are those of the tokenizers library, as they come from there."""
    plain = PreTrainedTokenizerFast
    kind: Any = type(tokenizer)
    return (
        isinstance(tokenizer, plain)
        and kind._encode_plus is plain._encode_plus
        and kind.__call__ is plain.__call__
    )


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a hash of a tokenizer and its chat template."""
    names = (tokenizer.special_tokens_map, tokenizer.chat_template, len(tokenizer))
    if tokenizer.is_fast:
        return fingerprint(names, tokenizer.backend_tokenizer.to_str())
    return fingerprint(names, type(tokenizer).__name__, tokenizer.get_vocab())


def windows(things: Iterable[Thing]) -> Iterator[list[Thing]]:
    """Yield things in lists of `WINDOW`."""
    rest = iter(things)
    while window := list(islice(rest, WINDOW)):
        yield window


def ahead(things: Iterable[Thing], work: Callable[[Thing], Work]) -> Iterator[tuple[Thing, Work]]:
    """Yield each thing with what `work` gives of it: done while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        before = None
        for thing in things:
            pending = (thing, pool.submit(work, thing))
            if before is not None:
                yield before[0], before[1].result()
            before = pending
        if before is not None:
            yield before[0], before[1].result()
