"""LLaMA-Factory's dataset_info.json: which columns of the files beside it mean what."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewarddiff.data.files import Row
from rewarddiff.data.files.rows import MAX_LINE
from rewarddiff.data.sources import DATASET_INFO, Stream
from rewarddiff.errors import UserError
from rewarddiff.writing import cut

NAMES = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "messages": "conversations",
    "history": "history",
    "system": "system",
    "tools": "tools",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "kto_tag",
}
"""LLaMA-Factory's name of a column → what it is called where nothing says otherwise."""

SPEAKERS = {
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
"""LLaMA-Factory's name of a speaker → what a turn is `from` where nothing says otherwise."""

OF_TURNS = ("conversations", "chosen", "rejected")
"""Columns that hold turns."""


@dataclass(frozen=True)
class Description:
    """What dataset_info.json says of one file.

    Attributes:
        name: of the entry.
        columns: the usual name of a column → the file's; empty: the usual ones.
        role, content: keys of a turn.
        speakers: who speaks, as the file has it → the usual name.
    """

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    role: str = "from"
    content: str = "value"
    speakers: Mapping[str, str] = field(default_factory=dict)

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with the usual names of columns, and of keys and speakers of its turns."""
        named = dict(values)
        if self.columns:
            dropped = {*NAMES.values(), *self.columns.values()}
            named = {name: value for name, value in values.items() if name not in dropped}
            for usual, column in self.columns.items():
                if column in values:
                    named[usual] = values[column]
        for column in OF_TURNS:
            if column in named:
                named[column] = self._turns(named[column])
        return named

    def _turns(self, value: Any) -> Any:
        """Return turns, or one turn, with `from` and `value`; anything else as it is."""
        if isinstance(value, list):
            return [self._turns(turn) for turn in value]
        if not isinstance(value, Mapping) or self.role not in value:
            return value
        others = {key: value[key] for key in value.keys() - {self.role, self.content}}
        speaker = value[self.role]
        usual = self.speakers.get(str(speaker), speaker)
        return {"from": usual, "value": value.get(self.content), **others}


def described(stream: Stream) -> Stream:
    """Return a file's rows as dataset_info.json beside it describes them; else as they are.

    Raises:
        UserError: that file is no JSON.
    """
    description = None if stream.path is None else _description(stream.path)
    if description is None:
        return stream
    return replace(stream, rows=_rows(stream.rows, description))


def _rows(rows: Iterator[Row], description: Description) -> Iterator[Row]:
    note = f"columns as {cut(description.name)} in {DATASET_INFO} has them"
    for row in rows:
        if row.values is not None:
            both = "; ".join(part for part in (row.note, note) if part)
            usual = description.row(row.values)
            row = replace(row, values=usual, original=row.values, note=both)
            note = ""
        yield row


def _description(path: Path) -> Description | None:
    """Return what the file beside it says of a file: of several entries one for preferences."""
    info = path.parent / DATASET_INFO
    if not os.path.isfile(info):
        return None
    try:
        if info.stat().st_size > MAX_LINE:
            raise ValueError(f"more than {MAX_LINE >> 20} MiB")
        entries = json.loads(info.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{info}: not valid JSON ({error}); mend it, or move it away from {path.name}"
        ) from None
    if not isinstance(entries, dict):
        return None
    of_file = {}
    for name, entry in entries.items():
        if isinstance(entry, dict) and entry.get("file_name") == path.name:
            of_file[name] = entry
    for name, entry in of_file.items():
        if entry.get("ranking"):
            return _of_entry(name, entry)
    return next((_of_entry(name, entry) for name, entry in of_file.items()), None)


def _of_entry(name: str, entry: Mapping[str, Any]) -> Description | None:
    """Return what an entry says; None where that is what would be read without it."""
    columns = {}
    for meaning, column in _mapping(entry, "columns").items():
        if meaning in NAMES:
            columns[NAMES[meaning]] = str(column)
    tags = _mapping(entry, "tags")
    speakers = {}
    for tag, usual in SPEAKERS.items():
        speakers[str(tags.get(tag, usual))] = usual
    if not columns and not tags:
        return None
    role = str(tags.get("role_tag", "from"))
    return Description(name, columns, role, str(tags.get("content_tag", "value")), speakers)


def _mapping(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = entry.get(key)
    return value if isinstance(value, Mapping) else {}
