"""Groups in an Arrow file: written in batches, read through a memory map, never all in memory."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group, Message

BATCH = 256
"""Groups written, or read in passing, at a time."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        (
            "messages",
            pa.list_(pa.struct([(name, pa.string()) for name in ("role", "content", "extras")])),
        ),
        ("responses", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        (
            "comparisons",
            pa.list_(
                pa.struct(
                    [("chosen", pa.int32()), ("rejected", pa.int32()), ("strength", pa.float64())]
                )
            ),
        ),
        ("source", pa.string()),
        ("topic", pa.string()),
        ("labels", pa.list_(pa.bool_())),
        ("subset", pa.string()),
        ("styles", pa.list_(pa.string())),
    ]
)
"""A prompt is in `text` or in `messages`, the other is null."""


class Groups(Sequence[Group]):
    """Groups in an Arrow file, or a selection of them. Indexing reads one group from the map."""

    def __init__(
        self, batches: Sequence[Any], indices: Sequence[int] | None = None, keep: object = None
    ) -> None:
        """`keep` is held as long as these groups or a view of them: the temporary folder of the
        file, say."""
        self._batches = batches
        self._ends = list(accumulate(batch.num_rows for batch in batches))
        self._indices = indices
        self._keep = keep

    @classmethod
    def write(cls, groups: Iterable[Group], path: str | Path) -> Groups:
        """Write the groups and open them. The file appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream, pa.ipc.new_file(stream, SCHEMA) as writer:
                rest = iter(groups)
                while batch := [_plain(group) for group in islice(rest, BATCH)]:
                    writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, keep: object = None) -> Groups:
        """Map a file that `write` wrote.

        Raises:
            UserError: it is not there, or not such a file.
        """
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{path}: not a file of groups ({str(error).splitlines()[0]}); prepare the data again"
            ) from None
        if not reader.schema.equals(SCHEMA):
            raise UserError(
                f"{path}: written by another version of rewarddiff; prepare the data again"
            )
        return cls([reader.get_batch(k) for k in range(reader.num_record_batches)], keep=keep)

    def __repr__(self) -> str:
        first = f", the first from {self[0].source}" if len(self) and self[0].source else ""
        return f"Groups({len(self)} prompts with their responses{first})"

    def __len__(self) -> int:
        if self._indices is not None:
            return len(self._indices)
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Group: ...

    @overload
    def __getitem__(self, index: slice) -> Groups: ...

    def __getitem__(self, index: int | slice) -> Group | Groups:
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        at = range(len(self))[index]
        at = at if self._indices is None else self._indices[at]
        batch = bisect_right(self._ends, at)
        start = self._ends[batch - 1] if batch else 0
        return _group(self._batches[batch].slice(at - start, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Group]:
        if self._indices is not None:
            yield from (self[k] for k in range(len(self)))
            return
        for batch in self._batches:
            for start in range(0, batch.num_rows, BATCH):
                yield from map(_group, batch.slice(start, BATCH).to_pylist())

    def select(self, indices: Iterable[int]) -> Groups:
        """A view of these groups in this order; nothing is copied. Negative indices count from the
        end."""
        places = [range(len(self))[k] for k in indices]
        chosen = places if self._indices is None else [self._indices[k] for k in places]
        return Groups(self._batches, chosen, self._keep)


def pairs(group: Group) -> Iterator[Group]:
    """The group cut into one group of two responses for each known comparison, the chosen one
    first."""
    for n, c in enumerate(group.known_comparisons(), start=1):
        scores = (
            None if group.scores is None else (group.scores[c.chosen], group.scores[c.rejected])
        )
        responses = (group.responses[c.chosen], group.responses[c.rejected])
        labels = (group.labels[c.chosen], group.labels[c.rejected]) if group.labels else ()
        styles = (group.styles[c.chosen], group.styles[c.rejected]) if group.styles else ()
        comparison = (Comparison(0, 1, c.strength),)
        yield replace(
            group, id=f"{group.id}/{n}", responses=responses, scores=scores, comparisons=comparison, labels=labels,
            styles=styles,
        )  # fmt: skip


def _plain(group: Group) -> dict[str, Any]:
    plain = isinstance(group.prompt, str)
    return {
        "id": group.id,
        "text": group.prompt if plain else None,
        "messages": None
        if isinstance(group.prompt, str)
        else [asdict(message) for message in group.prompt],
        "responses": group.responses,
        "scores": group.scores,
        "comparisons": [asdict(comparison) for comparison in group.comparisons],
        "source": group.source,
        "topic": group.topic,
        "labels": group.labels,
        "subset": group.subset,
        "styles": group.styles,
    }


def _group(row: Mapping[str, Any]) -> Group:
    return Group(
        id=row["id"],
        prompt=row["text"]
        if row["messages"] is None
        else tuple(Message(**m) for m in row["messages"]),
        responses=tuple(row["responses"]),
        scores=None if row["scores"] is None else tuple(row["scores"]),
        comparisons=tuple(Comparison(**c) for c in row["comparisons"]),
        source=row["source"],
        topic=row["topic"],
        labels=tuple(row["labels"]),
        subset=row["subset"],
        styles=tuple(row["styles"]),
    )
