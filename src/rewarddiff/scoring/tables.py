"""Rows written by the suffix of a file: JSON Lines, CSV or Parquet; and as a folder of `datasets`.

Rows are handed over in windows that can be gone through twice, since CSV has to know all columns,
and Parquet their types, before the first row.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rewarddiff import files
from rewarddiff.errors import UserError
from rewarddiff.writing import csv_line, no_formula, say

Values = Mapping[str, Any]
Windows = Callable[[], Iterator[Sequence[Values]]]
"""Begins anew with the first window each time it is called."""

SUFFIXES = (".jsonl", ".csv", ".parquet")

ROW_GROUP = 8192
"""Rows of a Parquet file that are written together."""


class UnlikeValues(UserError):
    """Rows that JSON Lines can hold, and the columns of a table cannot."""


def check_suffix(output: Path, *, folders: bool = False) -> str:
    """Return the suffix by which an output is written; empty: a folder of `datasets`.

    Raises:
        UserError: there is no way to write it.
    """
    suffix = output.suffix.lower()
    if suffix in SUFFIXES or (folders and not suffix):
        return suffix
    choices = ", ".join(SUFFIXES)
    if folders:
        choices += ", or a folder's name without a suffix"
    raise UserError(f"{output}: cannot be written by its name; give it one of {choices}")


def encoded(rows: Sequence[Values], kind: str) -> bytes:
    """Return rows as the content of a whole file, .jsonl or .parquet."""
    if kind == ".parquet":
        sink = io.BytesIO()
        table = _table(rows, _schema(rows))
        with _explained():
            pq.write_table(table, sink)
        return sink.getvalue()
    return "".join(map(_line, rows)).encode("utf-8")


def decoded(file: Path) -> list[Values]:
    """Return the rows of a whole file that `encoded` made."""
    if file.suffix == ".parquet":
        rows: list[Values] = pq.read_table(file).to_pylist()
        return rows
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(output: Path, windows: Windows) -> None:
    """Write rows to a file by its suffix, whole or not at all, or to a folder of `datasets`."""
    match check_suffix(output, folders=True):
        case ".jsonl":
            with files.written(output) as fresh, fresh.open("w", encoding="utf-8") as file:
                for rows in windows():
                    file.writelines(map(_line, rows))
        case ".csv":
            with files.written(output) as fresh:
                apostrophes = _write_csv(fresh, windows)
            if apostrophes:
                say(
                    f"{output}: {apostrophes:,} cells got an apostrophe before them, so that no "
                    "spreadsheet takes them for formulas; .jsonl and .parquet hold texts as they are",
                    error=True,
                )
        case ".parquet":
            with files.written(output) as fresh:
                _write_parquet(fresh, windows)
        case _:
            _write_dataset(output, windows)


def join(output: Path, parts: Iterable[Path]) -> None:
    """Write files of lines one behind the other, whole or not at all."""
    with files.written(output) as fresh, fresh.open("wb") as file:
        for part in parts:
            with part.open("rb") as lines:
                shutil.copyfileobj(lines, file)


def _line(row: Values) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _write_csv(path: Path, windows: Windows) -> int:
    """Write rows, and return how many cells got an apostrophe: see `writing.no_formula`."""
    columns: dict[str, None] = {}
    for rows in windows():
        columns.update(dict.fromkeys(_columns(rows)))
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_line(columns))
        apostrophes = 0
        for rows in windows():
            for row in rows:
                cells = [_cell(row.get(column)) for column in columns]
                apostrophes += sum(cell != no_formula(cell) for cell in cells)
                file.write(csv_line(cells))
    return apostrophes


def _cell(value: Any) -> str:
    """Return a value as a cell has it: texts as they are, nothing as nothing, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _write_parquet(path: Path, windows: Windows) -> None:
    schema = pa.schema([])
    for rows in windows():
        schema = _unified(schema, _schema(rows))
    with _explained(), pq.ParquetWriter(path, schema) as writer:
        gathered: list[Values] = []
        for rows in windows():
            gathered += rows
            if len(gathered) >= ROW_GROUP:
                writer.write_table(_table(gathered, schema))
                gathered = []
        writer.write_table(_table(gathered, schema))


def _write_dataset(folder: Path, windows: Windows) -> None:
    """Write a folder that `datasets.load_from_disk` reads."""
    import datasets

    # datasets reads the Parquet file into a cache, and writes its folder from there row by row.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=files.FRESH) as place:
        rows_file = Path(place) / "rows.parquet"
        _write_parquet(rows_file, windows)
        datasets.disable_progress_bars()
        dataset = datasets.Dataset.from_parquet(str(rows_file), cache_dir=place)
        fresh = files.begin(folder)
        dataset.save_to_disk(str(fresh))
        files.replace(fresh, folder)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what Parquet has no form for, such as an object without keys, into one line."""
    try:
        yield
    except pa.ArrowException as error:
        raise _unlike("", error) from None


def _columns(rows: Sequence[Values]) -> list[str]:
    """Return the columns that any row has, in the order in which they turn up."""
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    return list(columns)


def _schema(rows: Sequence[Values]) -> pa.Schema:
    fields = []
    for column in _columns(rows):
        fields.append((column, _inferred([row.get(column) for row in rows], column)))
    return pa.schema(fields)


def _inferred(values: Sequence[Any], column: str) -> pa.DataType:
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError) as error:
        raise _unlike(column, error) from None


def _unified(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    try:
        return pa.unify_schemas([one, other], promote_options="permissive")
    except pa.ArrowException as error:
        raise _unlike("", error) from None


def _table(rows: Sequence[Values], schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        try:
            arrays.append(pa.array(values, type=field.type))
        except (pa.ArrowException, OverflowError) as error:
            raise _unlike(field.name, error) from None
    return pa.Table.from_arrays(arrays, schema=schema)


def _unlike(column: str, error: Exception) -> UnlikeValues:
    cause = str(error).splitlines()[0]
    what = f"column {column} holds values" if column else "columns hold values"
    return UnlikeValues(
        f"{what} that Parquet cannot hold in one column ({cause}); write to a file named .jsonl"
    )
