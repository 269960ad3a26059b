"""Items of policies in files: tokens and columns as numbers, an item made when it is due."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder
from rewarddiff.loop.filing import LAYOUT, filed
from rewarddiff.loop.items import Filed
from rewarddiff.policies.items import Pairs, PreferenceItem
from rewarddiff.policies.objective import PolicyObjective
from rewarddiff.ragged import Lengths, Ragged, RaggedWriter
from rewarddiff.records import Group
from rewarddiff.store import fingerprint
from rewarddiff.trees import Tree, group_tree

COLUMNS = {
    "id": "B",
    "lengths": "i",
    "comparisons": "i",
    "coefficients": "d",
    "strengths": "d",
    "scores": "d",
    "labels": "i",
    "label_coefficients": "d",
}
"""Columns beside the tokens, and the types of their numbers.

Lengths are those of the prompt and of each response. Comparisons are pairs of places, labels a place
and 1 for a desirable response.
"""


class PreferenceTable(Filed[PreferenceItem]):
    """Items in a folder, written by `write_items`."""

    def __init__(self, folder: Path, keep: object = None) -> None:
        self._rows = Ragged(folder, keep)
        self.sizes = Lengths(self._rows["tokens"])

    def __len__(self) -> int:
        return len(self._rows)

    def digest(self) -> str:
        return self._rows.digest

    def make(self, place: int) -> PreferenceItem:
        rows = self._rows
        comparisons = rows["comparisons"][place].tolist()
        labels = rows["labels"][place].tolist()
        desirable = map(bool, labels[1::2])
        weights = rows["label_coefficients"][place].tolist()
        return PreferenceItem(
            id=rows["id"][place].tobytes().decode("utf-8", "surrogatepass"),
            tree=self._tree(place),
            comparisons=tuple(zip(comparisons[::2], comparisons[1::2], strict=True)),
            coefficients=tuple(rows["coefficients"][place].tolist()),
            strengths=tuple(rows["strengths"][place].tolist()),
            scores=tuple(rows["scores"][place].tolist()),
            labels=tuple(zip(labels[::2], desirable, weights, strict=True)),
        )

    def prompt(self, place: int) -> bytes:
        """Return what is the same of two items where their prompts are."""
        length = self._rows["lengths"][place][0]
        content: bytes = self._rows["tokens"][place][:length].tobytes()
        return content

    def responses(self, place: int) -> int:
        """Return how many responses the tree of an item holds."""
        return len(self._rows["lengths"][place]) - 1

    def _tree(self, place: int) -> Tree:
        tokens = self._rows["tokens"][place].tolist()
        nodes = []
        start = 0
        for length in self._rows["lengths"][place].tolist():
            nodes.append(tokens[start : start + length])
            start += length
        prompt, *responses = nodes
        return group_tree(prompt, responses)


def write_items(items: Iterable[PreferenceItem], folder: Path, vocabulary: int) -> None:
    """Write items into an empty folder.

    Args:
        vocabulary: how many tokens there are: those of few take half the room.
    """
    columns = {"tokens": "H" if vocabulary <= 1 << 16 else "i", **COLUMNS}
    with RaggedWriter(folder, columns) as writer:
        for item in items:
            _write(item, writer)


def _write(item: PreferenceItem, writer: RaggedWriter) -> None:
    tokens: list[int] = []
    for node in item.tree.nodes:
        tokens += node.tokens
    labels: list[int] = []
    for place, desirable, _ in item.labels:
        labels += (place, desirable)
    comparisons: list[int] = []
    for pair in item.comparisons:
        comparisons += pair
    writer.add(
        tokens=tokens,
        id=item.id.encode("utf-8", "surrogatepass"),
        lengths=[len(node.tokens) for node in item.tree.nodes],
        comparisons=comparisons,
        coefficients=item.coefficients,
        strengths=item.strengths,
        scores=item.scores,
        labels=labels,
        label_coefficients=[coefficient for _, _, coefficient in item.labels],
    )


def item_table(
    objective: PolicyObjective,
    groups: Iterable[tuple[Group, Pairs]],
    encoder: Encoder,
    ledger: Ledger,
    *,
    cache: Path | None = None,
    made_from: object = None,
) -> PreferenceTable:
    """Return what an objective trains on, in files; groups with nothing for it are counted.

    Args:
        cache: a folder of tables, in which this one is found again.
        made_from: what determines the groups and their pairs, as JSON can hold it: it names the
            table there, together with objective, tokenizer and limits.
    """
    place = None
    if cache is not None:
        made_by = (LAYOUT, repr(objective), encoder.fingerprint)
        place = cache / f"items-{fingerprint(*made_by, made_from)}"
    filled = filed(partial(_fill, objective, groups, encoder), ledger, place)
    return PreferenceTable(filled.folder, filled.keep)


def _fill(
    objective: PolicyObjective,
    groups: Iterable[tuple[Group, Pairs]],
    encoder: Encoder,
    folder: Path,
    ledger: Ledger,
) -> None:
    items = objective.stream(groups, encoder, ledger)
    write_items(items, folder, len(encoder.tokenizer))
