"""What scorers are trained on: comparisons of a group with its page; in memory, or in files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rewarddiff.data.split import PromptHashes
from rewarddiff.loop.items import Filed
from rewarddiff.ragged import Numbers, Ragged, RaggedWriter
from rewarddiff.records import Comparison
from rewarddiff.scorers.neural.texts import Page
from rewarddiff.store import fingerprint

CUTS = ("prompt", "response")
"""What of a page may have been cut: each has a bit."""

PAGES = {"id": "B", "prompt": "Q", "prompts": "B", "lengths": "i", "cut": "B"}
"""Columns of a page beside its tokens, and the types of their numbers.

`prompt` is the hash of its text, `prompts` how many runs of tokens stand before the responses' runs,
whose lengths are all in `lengths`: one where all responses have the same prompt.
"""

ITEMS = {"page": "q", "tokens": "i", "places": "i", "strengths": "d", "weights": "d", "shares": "d"}
"""Columns of an item. Of a comparison's strength and coefficient NaN says that there is none."""


@dataclass(frozen=True)
class ScorerItem:
    """Comparisons of one group.

    Attributes:
        tokens: what its readings take.
        shares: of every comparison, what it counts in each head's part of the loss.
        prompt: the hash of its prompt's text, see `data.prompt_hashes`.
    """

    id: str
    page: Page
    comparisons: tuple[Comparison, ...]
    shares: tuple[tuple[float, ...], ...]
    tokens: int = 0
    prompt: int = 0


class ScorerTable(Filed[ScorerItem]):
    """Items in a folder, written by `write_items`."""

    def __init__(self, folder: Path, keep: object = None) -> None:
        self._pages = Ragged(folder / "pages", keep)
        self._items = Ragged(folder / "items", keep)
        self.sizes = Numbers(self._items["tokens"])

    def __len__(self) -> int:
        return len(self._items)

    def make(self, place: int) -> ScorerItem:
        items = self._items
        page = int(items["page"].values[place])
        places = items["places"][place].tolist()
        pairs = zip(places[::2], places[1::2], strict=True)
        strengths = map(_known, items["strengths"][place].tolist())
        weights = map(_known, items["weights"][place].tolist())
        comparisons = []
        for (chosen, rejected), strength, weight in zip(pairs, strengths, weights, strict=True):
            comparisons.append(Comparison(chosen, rejected, strength, weight))
        shares = items["shares"][place].reshape(len(comparisons), -1).tolist()
        return ScorerItem(
            id=self._pages["id"][page].tobytes().decode("utf-8", "surrogatepass"),
            page=self._page(page),
            comparisons=tuple(comparisons),
            shares=tuple(map(tuple, shares)),
            tokens=self.sizes[place],
            prompt=int(self._pages["prompt"].values[page]),
        )

    def comparisons(self, place: int) -> int:
        """Return how many comparisons an item has."""
        return len(self._items["strengths"][place])

    def prompts(self, places: Iterable[int]) -> PromptHashes:
        """Return the hashes of the prompts of the items at these places."""
        pages = self._items["page"].values
        hashes = self._pages["prompt"].values
        return PromptHashes(hashes[pages[place]] for place in places)

    def digest(self) -> str:
        return fingerprint(self._pages.digest, self._items.digest)

    def _page(self, place: int) -> Page:
        pages = self._pages
        tokens = pages["tokens"][place].tolist()
        runs = []
        start = 0
        for length in pages["lengths"][place].tolist():
            runs.append(tuple(tokens[start : start + length]))
            start += length
        count = int(pages["prompts"].values[place])
        prompts, responses = runs[:count], runs[count:]
        if count == 1:
            prompts = prompts * len(responses)
        bits = int(pages["cut"].values[place])
        cut = frozenset(name for bit, name in enumerate(CUTS) if bits >> bit & 1)
        return Page(tuple(prompts), tuple(responses), cut)


def write_items(items: Iterable[ScorerItem], folder: Path, vocabulary: int) -> None:
    """Write items into an empty folder; those of one group, one behind the other, share its page.

    Args:
        vocabulary: how many tokens there are: those of few take half the room.
    """
    (folder / "pages").mkdir()
    (folder / "items").mkdir()
    tokens = "H" if vocabulary <= 1 << 16 else "i"
    last: tuple[str, Page] | None = None
    with (
        RaggedWriter(folder / "pages", {"tokens": tokens, **PAGES}) as pages,
        RaggedWriter(folder / "items", ITEMS) as rows,
    ):
        for item in items:
            if last is None or item.page is not last[1] or item.id != last[0]:
                _write_page(item, pages)
                last = (item.id, item.page)
            _write_item(item, len(pages) - 1, rows)


def _write_page(item: ScorerItem, pages: RaggedWriter) -> None:
    page = item.page
    prompts = page.prompts
    if all(prompt == prompts[0] for prompt in prompts):
        prompts = prompts[:1]
    runs = [*prompts, *page.responses]
    tokens: list[int] = []
    for run in runs:
        tokens += run
    pages.add(
        tokens=tokens,
        id=item.id.encode("utf-8", "surrogatepass"),
        prompt=(item.prompt,),
        prompts=(len(prompts),),
        lengths=map(len, runs),
        cut=(sum(1 << bit for bit, name in enumerate(CUTS) if name in page.cut),),
    )


def _write_item(item: ScorerItem, page: int, rows: RaggedWriter) -> None:
    places: list[int] = []
    for comparison in item.comparisons:
        places += (comparison.chosen, comparison.rejected)
    shares: list[float] = []
    for of_comparison in item.shares:
        shares += of_comparison
    rows.add(
        page=(page,),
        tokens=(item.tokens,),
        places=places,
        strengths=[_or_nan(comparison.strength) for comparison in item.comparisons],
        weights=[_or_nan(comparison.coefficient) for comparison in item.comparisons],
        shares=shares,
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
