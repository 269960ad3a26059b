"""Rows out of Parquet."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader, BytesIO
from typing import Any

from rewarddiff.data.files import rows
from rewarddiff.data.files.rows import ENDLESS, DamagedError, RefusedError, Row, check_columns
from rewarddiff.writing import cut

BATCH = 16
"""Rows that are unpacked at a time: a dictionary may hold a long text for each of them."""

LARGEST_PACKED = 1 << 27
"""Bytes of the largest gzipped file that is read: it is held in memory whole."""

TOO_LONG = f"a row of more than {rows.MAX_LINE >> 20} MiB, longer than any"

HIGHEST = 1000
"""A column of more than `LARGEST_PACKED` that takes so many times its room in the file is no data."""


def read_parquet(stream: BufferedReader) -> Iterator[Row]:
    """Read rows, each numbered by its place; a gzipped file is held in memory whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = too_long = 0
    try:
        file = pq.ParquetFile(_seekable(stream))
        check_columns(file.schema_arrow.names)
        _check_sizes(file.metadata)
        _check_counts(file.metadata)
        for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
            for row in _rows(batch, number + 1):
                number = row.number
                yield row
                too_long += row.problem == TOO_LONG
                if too_long > ENDLESS:
                    raise RefusedError(f"more than {ENDLESS} times {TOO_LONG}", "take them out")
        declared = file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        cause = str(error).splitlines() or [type(error).__name__]
        raise DamagedError(cut(cause[0])) from None
    if number != declared:
        raise DamagedError(f"{number} rows, and its end says {declared}")


def _seekable(stream: BufferedReader) -> BufferedIOBase:
    """Return a stream that can be read from any place."""
    if not isinstance(stream, gzip.GzipFile):
        return stream
    content = stream.read(LARGEST_PACKED + 1)
    if len(content) > LARGEST_PACKED:
        raise RefusedError(f"more than {LARGEST_PACKED >> 20} MiB of Parquet in gzip", "unpack it")
    return BytesIO(content)


def _check_sizes(metadata: Any) -> None:
    """Refuse what unpacks to more than any data does, before it is unpacked."""
    for k in range(metadata.num_row_groups):
        group = metadata.row_group(k)
        if group.total_byte_size > rows.MAX_LINE * max(group.num_rows, 1):
            raise RefusedError(
                f"row group {k} has rows of more than {rows.MAX_LINE >> 20} MiB",
                "no row is that long",
            )
        for j in range(group.num_columns):
            column = group.column(j)
            size = column.total_uncompressed_size
            if size > max(LARGEST_PACKED, HIGHEST * column.total_compressed_size):
                raise RefusedError(
                    f"column {cut(column.path_in_schema)} unpacks to {size >> 20} MiB, more than "
                    f"{HIGHEST} times its room in the file",
                    "no data is packed like that",
                )


def _check_counts(metadata: Any) -> None:
    """Raise where a group holds more than its rows: what is beyond them would not be read."""
    for k in range(metadata.num_row_groups):
        group = metadata.row_group(k)
        for j in range(group.num_columns):
            values = group.column(j).num_values
            holds_lists = metadata.schema.column(j).max_repetition_level > 0
            if values > group.num_rows and not holds_lists:
                raise DamagedError(
                    f"row group {k} has {values} values of a column, and {group.num_rows} rows"
                )


def _rows(batch: Any, first: int) -> Iterator[Row]:
    """Yield the rows of a batch, of which the first has this number."""
    if batch.nbytes <= rows.MAX_LINE:
        try:
            plain = batch.to_pylist()
        except (ValueError, OverflowError):
            pass  # Python cannot hold one of them, as the year 10000; the others are rows like any
        else:
            size = batch.nbytes // max(len(plain), 1)
            for number, values in enumerate(plain, start=first):
                yield Row(number, values, size=size)
            return
    for place in range(batch.num_rows):
        yield _row(batch.slice(place, 1), first + place)


def _row(batch: Any, number: int) -> Row:
    """Return the only row of a batch."""
    if batch.nbytes > rows.MAX_LINE:
        return Row(number, None, TOO_LONG)
    values = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[0].as_py()
        except (ValueError, OverflowError) as error:
            return Row(
                number, None, f"column {cut(name)} holds a value that cannot be read ({error})"
            )
    return Row(number, values, size=batch.nbytes)
