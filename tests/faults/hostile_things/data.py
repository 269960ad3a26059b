"""Data that holds pickles, classes and paths, that swells, and projects of votes that never end."""

from __future__ import annotations

import gzip
import json
import pickle
import sqlite3
import struct
from pathlib import Path

from tiny import edit, lines

from hostile_things.making import Malice, Stock, Things, code, malice

DATA = Things()


ROWS = [
    {"prompt": f"Question {i}?", "chosen": f"good answer {i}", "rejected": f"bad {i}"} for i in range(8)
]  # fmt: skip


@DATA.made
def rows_with_classes(stock: Stock) -> Path:
    marks = {"__class__": "os.system", "py/object": "os.system", "py/reduce": [1], "$type": "x"}
    return lines(stock.place / "rows.jsonl", [{**row, **marks} for row in ROWS])


@DATA.made
def rows_nested_deeply(stock: Stock) -> Path:
    path = lines(stock.place / "rows.jsonl", ROWS)
    path.write_text(path.read_text() + '{"prompt":' * 100_000 + "1" + "}" * 100_000 + "\n")
    return path


@DATA.made
def rows_that_are_pickled(stock: Stock) -> Path:
    return malice(stock.place / "rows.jsonl", stock)


@DATA.made
def pickle_among_rows(stock: Stock) -> Path:
    folder = stock.place / "rows"
    folder.mkdir()
    lines(folder / "rows.jsonl", ROWS)
    for name in ("data.pkl", "dataset.pt", "cache.bin", "rows.pickle"):
        malice(folder / name, stock)
    return folder


@DATA.made
def dataset_with_a_script(stock: Stock) -> Path:
    folder = stock.place / "rows"
    folder.mkdir()
    code(folder, stock, "rows.py")
    code(folder, stock, "dataset.py")
    lines(folder / "rows.jsonl", ROWS)
    (folder / "README.md").write_text(
        "---\nconfigs: !!python/object/apply:os.system ['touch x']\n---\n"
    )
    return folder


def parquet(path: Path, metadata: dict[bytes, bytes], of_field: dict[bytes, bytes]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("prompt", "chosen", "rejected")
    fields = [pa.field(name, pa.string(), metadata=of_field) for name in names]
    schema = pa.schema(fields, metadata=metadata)
    columns = [[row[name] for row in ROWS] for name in names]
    pq.write_table(pa.table(columns, schema=schema), path)
    return path


@DATA.made
def parquet_with_a_pickled_type(stock: Stock) -> Path:
    """What pyarrow unpickled until its version 14 (CVE-2023-47248)."""
    pickled = pickle.dumps(Malice(stock.ran))
    field = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickled,
    }
    return parquet(stock.place / "rows.parquet", {}, field)


@DATA.made
def parquet_with_metadata(stock: Stock) -> Path:
    pickled = pickle.dumps(Malice(stock.ran))
    features = {"info": {"features": {"prompt": {"_type": "exec", "dtype": "string"}}}}
    metadata = {b"pandas": pickled, b"huggingface": json.dumps(features).encode()}
    return parquet(stock.place / "rows.parquet", metadata, {})


@DATA.made
def parquet_that_is_cut(stock: Stock) -> Path:
    path = parquet(stock.place / "rows.parquet", {}, {})
    content = bytearray(path.read_bytes())
    content[-8:-4] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(content)
    return path


def saved_dataset(stock: Stock) -> Path:
    import datasets

    folder = stock.place / "rows"
    datasets.Dataset.from_list(ROWS).save_to_disk(str(folder))
    return folder


@DATA.made
def saved_dataset_of_files_elsewhere(stock: Stock) -> Path:
    folder = saved_dataset(stock)
    edit(folder / "state.json", _data_files=[{"filename": "../../../etc/passwd"}])
    return folder


@DATA.made
def saved_dataset_of_evil_types(stock: Stock) -> Path:
    folder = saved_dataset(stock)
    features = {"prompt": {"_type": "exec", "dtype": "string"}, "chosen": {"_type": "eval"}}
    edit(folder / "dataset_info.json", features=features, builder_name="evil")
    edit(folder / "state.json", _format_type="custom", _format_kwargs={"transform": "os.system"})
    return folder


@DATA.made
def saved_dataset_of_images_elsewhere(stock: Stock) -> Path:
    import datasets

    folder = stock.place / "rows"
    rows = [{**row, "image": {"bytes": b"", "path": "http://127.0.0.1:9/x.png"}} for row in ROWS]
    datasets.Dataset.from_list(rows).save_to_disk(str(folder))
    features = json.loads((folder / "dataset_info.json").read_text())["features"]
    edit(folder / "dataset_info.json", features={**features, "image": {"_type": "Image"}})
    return folder


@DATA.made
def saved_datasets_of_splits_elsewhere(stock: Stock) -> Path:
    folder = saved_dataset(stock)
    edit(folder / "dataset_dict.json", splits=["../../evil", "/etc"])
    return folder


@DATA.made
def csv_of_formulas(stock: Stock) -> Path:
    path = stock.place / "rows.csv"
    path.write_text("prompt,chosen,rejected\n" + "\"=cmd|' /C calc'!A0\",@SUM(1),-2+3\n" * 8)
    return path


@DATA.made
def rows_that_swell(stock: Stock) -> Path:
    """Three megabytes that unpack to three gigabytes, in one line."""
    path = stock.place / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"prompt": "')
        for _ in range(3000):
            file.write(b"x" * 1_000_000)
    return path


@DATA.made
def array_that_swells(stock: Stock) -> Path:
    path = stock.place / "rows.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"[")
        for _ in range(6000):
            file.write(b" " * 1_000_000)
    return path


def database(path: Path, *statements: str) -> Path:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.executescript(statement)
    connection.close()
    return path


ITEMS = """
    CREATE TABLE settings (key, value); CREATE TABLE items (id, place, prompt, a, b, source);
    INSERT INTO items VALUES ('i', 0, '"q"', 'x', 'y', '{}');
"""
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)"
VOTED = "(item, annotator, grade, skipped, seconds, reason, first, created, nonce)"


@DATA.made
def votes_without_end(stock: Stock) -> Path:
    view = (
        f"CREATE VIEW votes AS {ENDLESS} SELECT 'i' item, 'a' || i annotator, 1 grade, 0 skipped, "
    )
    return database(
        stock.place / "annotations.sqlite",
        ITEMS,
        f"{view} 1.0 seconds, '' reason, 0 first, '' created, i nonce FROM n",
    )


@DATA.made
def votes_of_huge_texts(stock: Stock) -> Path:
    view = "CREATE VIEW votes AS SELECT 'i' item, 'a' annotator, 1 grade, 0 skipped, 1.0 seconds, "
    return database(
        stock.place / "annotations.sqlite",
        ITEMS,
        f"{view} printf('%.*c', 900000000, 'x') reason, 0 first, '' created, 1 nonce",
    )


@DATA.made
def votes_with_a_trigger(stock: Stock) -> Path:
    return database(
        stock.place / "annotations.sqlite",
        ITEMS,
        f"CREATE TABLE votes {VOTED}; INSERT INTO votes VALUES ('i', 'a', 1, 0, 1.0, '', 0, '', 'n');",
        "CREATE TRIGGER evil AFTER INSERT ON votes BEGIN DELETE FROM votes; END",
    )


@DATA.made
def votes_in_a_virtual_table(stock: Stock) -> Path:
    return database(
        stock.place / "annotations.sqlite", ITEMS, f"CREATE VIRTUAL TABLE votes USING fts5{VOTED}"
    )


@DATA.made
def votes_of_pickles(stock: Stock) -> Path:
    path = stock.place / "annotations.sqlite"
    path.write_bytes(b"SQLite format 3\0" + pickle.dumps(Malice(stock.ran)) * 100)
    return path
