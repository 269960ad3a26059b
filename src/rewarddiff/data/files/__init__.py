"""Rows out of files, one at a time: JSONL, JSON, CSV, TSV and Parquet, each also as .gz."""

from rewarddiff.data.files.names import SUFFIXES, check_file, is_packed, kind, name_of, shown, stem
from rewarddiff.data.files.reading import count_lines, read_rows
from rewarddiff.data.files.rows import Cell, Row

__all__ = [
    "SUFFIXES",
    "Cell",
    "Row",
    "check_file",
    "count_lines",
    "is_packed",
    "kind",
    "name_of",
    "read_rows",
    "shown",
    "stem",
]
