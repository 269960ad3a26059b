"""Groups in an Arrow file: written in batches and read through a memory map."""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rewarddiff.data.holding import held, size_of
from rewarddiff.errors import UserError
from rewarddiff.files import put
from rewarddiff.hashing import digest
from rewarddiff.records import Comparison, Group, Message, Prompt

BATCH = 256
"""Groups written, or read in passing, at a time; fewer where they are long."""

OPEN = 64
"""Batches of a file that are open at a time."""

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string()), ("extras", pa.string())])

COMPARISON = pa.struct(
    [
        ("chosen", pa.int32()),
        ("rejected", pa.int32()),
        ("strength", pa.float64()),
        ("coefficient", pa.float64()),
    ]
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("responses", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("comparisons", pa.list_(COMPARISON)),
        ("source", pa.string()),
        ("topic", pa.string()),
        ("labels", pa.list_(pa.bool_())),
        ("subset", pa.string()),
        ("styles", pa.list_(pa.string())),
    ]
)
"""A prompt is in `text` or in `messages`, the other is null."""

PLAIN_COLUMNS = [name for name in SCHEMA.names if name not in ("text", "messages", "comparisons")]
"""Columns that are fields of a group as they are."""


class Batches:
    """The batches of an Arrow file, opened when they are asked for: an open one takes 20 KB.

    Attributes:
        ends: the number of rows up to the end of each batch.
    """

    def __init__(self, reader: Any) -> None:
        count = reader.num_record_batches
        rows = (reader.get_batch(k).num_rows for k in range(count))
        self.ends = array("q", accumulate(rows))
        self.open = lru_cache(maxsize=OPEN)(reader.get_batch)

    def __iter__(self) -> Iterator[Any]:
        return map(self.open, range(len(self.ends)))

    @property
    def rows(self) -> int:
        return self.ends[-1] if self.ends else 0

    def holding(self, place: int) -> int:
        """Return which batch holds a row."""
        return bisect_right(self.ends, place)

    def rows_of(self, k: int, places: Iterable[int]) -> list[dict[str, Any]]:
        """Return rows of one batch as plain values."""
        batch = self.open(k)
        first = self.ends[k] - batch.num_rows
        rows: list[dict[str, Any]] = batch.take([place - first for place in places]).to_pylist()
        return rows

    def row(self, place: int) -> dict[str, Any]:
        """Return one row as plain values."""
        k = self.holding(place)
        batch = self.open(k)
        first = self.ends[k] - batch.num_rows
        row: dict[str, Any] = batch.slice(place - first, 1).to_pylist()[0]
        return row


class Groups(Sequence[Group]):
    """Groups in an Arrow file, or a selection of them. Indexing reads one group from the map."""

    def __init__(
        self, batches: Batches, indices: Sequence[int] | None = None, keep: object = None
    ) -> None:
        """Hold `keep` (a temporary folder, say) as long as these groups or a view of them."""
        self._batches = batches
        self._whole_file = range(batches.rows)
        self._indices = self._whole_file if indices is None else indices
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
                while batch := held(rest, BATCH, size_of):
                    rows = [_row(group) for group in batch]
                    writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
            put(Path(temporary), path)
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
            cause = str(error).splitlines()[0]
            raise UserError(
                f"{path}: not a file of groups ({cause}); prepare the data again"
            ) from None
        if not reader.schema.equals(SCHEMA):
            raise UserError(
                f"{path}: written by another version of rewarddiff; prepare the data again"
            )
        return cls(Batches(reader), keep=keep)

    def __repr__(self) -> str:
        first = f", the first from {self[0].source}" if self and self[0].source else ""
        return f"Groups({len(self)} prompts with their responses{first})"

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Group: ...

    @overload
    def __getitem__(self, index: slice) -> Groups: ...

    def __getitem__(self, index: int | slice) -> Group | Groups:
        if isinstance(index, slice):
            return Groups(self._batches, self._indices[index], self._keep)
        return _group(self._batches.row(self._indices[index]))

    def __iter__(self) -> Iterator[Group]:
        if self._indices is not self._whole_file:
            for k, places in groupby(self._indices, key=self._batches.holding):
                yield from map(_group, self._batches.rows_of(k, places))
            return
        for batch in self._batches:
            for start in range(0, batch.num_rows, BATCH):
                yield from map(_group, batch.slice(start, BATCH).to_pylist())

    def select(self, indices: Iterable[int]) -> Groups:
        """Return a view of these groups in this order; negative indices count from the end."""
        places = array("q", (self._indices[k] for k in indices))
        return Groups(self._batches, places, self._keep)

    def text_bytes(self) -> NDArray[np.int64]:
        """Return the bytes of text in each group, prompt and responses; none is made for it."""
        of_batches = [_text_bytes_of_batch(batch) for batch in self._batches]
        of_rows = np.concatenate([np.zeros(0, dtype=np.int64), *of_batches])
        chosen: NDArray[np.int64] = of_rows[np.asarray(self._indices, dtype=np.int64)]
        return chosen

    def digest(self) -> str:
        """Return a hash of all that the file holds, and of which groups these are."""
        hashed = blake2b(digest_size=16)
        for batch in self._batches:
            for column in batch.columns:
                for buffer in column.buffers():
                    hashed.update(b"" if buffer is None else buffer)
        if self._indices is not self._whole_file:
            hashed.update(array("q", self._indices))
        return hashed.hexdigest()


def digest_of(groups: Sequence[Group]) -> str:
    """Return a hash of all that groups hold."""
    if isinstance(groups, Groups):
        return groups.digest()
    return digest(repr(group).encode("utf-8", "surrogatepass") for group in groups)


def text_bytes(groups: Sequence[Group]) -> NDArray[np.int64]:
    """Return the bytes of text in each group, prompt and responses: of a file by its columns, else by its objects."""
    if isinstance(groups, Groups):
        return groups.text_bytes()
    return np.array([_text_bytes_of(group) for group in groups], dtype=np.int64)


def _text_bytes_of(group: Group) -> int:
    texts = list(group.responses)
    if isinstance(group.prompt, str):
        texts.append(group.prompt)
    else:
        texts += [message.content for message in group.prompt]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def _text_bytes_of_batch(batch: Any) -> NDArray[np.int64]:
    """Return the bytes of text in each row of a batch."""
    sizes: NDArray[np.int64] = np.zeros(batch.num_rows, dtype=np.int64)
    sizes += pc.fill_null(pc.binary_length(batch["text"]), 0).to_numpy(zero_copy_only=False)
    for column, field in (("responses", None), ("messages", "content")):
        lists = batch[column]
        texts = lists.flatten()
        if field is not None:
            texts = pc.struct_field(texts, field)
        lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
        rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        sizes += np.bincount(rows, weights=lengths, minlength=len(sizes)).astype(np.int64)
    return sizes


def _row(group: Group) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(group, name) for name in PLAIN_COLUMNS}
    row["comparisons"] = [_comparison_row(comparison) for comparison in group.comparisons]
    if isinstance(group.prompt, str):
        row["text"] = group.prompt
    else:
        row["messages"] = [asdict(message) for message in group.prompt]
    return row


def _comparison_row(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values; of many responses there are many, and `asdict` is slow."""
    return {
        "chosen": comparison.chosen,
        "rejected": comparison.rejected,
        "strength": comparison.strength,
        "coefficient": comparison.coefficient,
    }


def _group(row: Mapping[str, Any]) -> Group:
    fields: dict[str, Any] = {}
    for name in PLAIN_COLUMNS:
        value = row[name]
        fields[name] = tuple(value) if isinstance(value, list) else value
    prompt: Prompt = row["text"]
    if row["messages"] is not None:
        prompt = tuple(Message(**message) for message in row["messages"])
    comparisons = tuple(Comparison(**comparison) for comparison in row["comparisons"])
    return Group(prompt=prompt, comparisons=comparisons, **fields)
