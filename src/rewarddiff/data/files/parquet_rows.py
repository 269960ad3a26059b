"""Rows out of Parquet."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader, BytesIO
from typing import Any

from rewarddiff.data.files.rows import DamagedError, Row, check_columns

BATCH = 256
"""Rows held at a time."""


def read_parquet(stream: BufferedReader) -> Iterator[Row]:
    """Read rows, each numbered by its place; a gzipped file is held in memory whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source: BufferedIOBase = stream
    if isinstance(stream, gzip.GzipFile):
        source = BytesIO(stream.read())
    number = 0
    try:
        file = pq.ParquetFile(source)
        check_columns(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=BATCH):
            for values, problem in _values(batch):
                number += 1
                yield Row(number, values, problem)
    except (pa.ArrowException, OSError) as error:
        cause = str(error).splitlines() or [type(error).__name__]
        raise DamagedError(cause[0]) from None


def _values(batch: Any) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Yield every row's values, or None and its problem."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        # Python cannot hold one of them, as the year 10000; the others are rows like any.
        for index in range(batch.num_rows):
            yield _row_values(batch, index)
        return
    for values in rows:
        yield values, ""


def _row_values(batch: Any, index: int) -> tuple[dict[str, Any] | None, str]:
    values = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[index].as_py()
        except (ValueError, OverflowError) as error:
            return None, f"column {name} holds a value that cannot be read ({error})"
    return values, ""
