"""Mutated files of every kind and format: groups and a ledger that adds up, or one line of what is wrong.

    python tests/faults/data.py 3000          # so many files
    python tests/faults/data.py 17 --only     # the file of one number, kept in a folder that is named

Each file is the example of a format in docs/formats.md, or another file that a command takes, written in one
of the kinds of files and changed in one or a few places: in its values, or in its bytes. All that reads data
reads it. How many rows there are is known from what was written, or, where bytes were changed, from `recount`,
which has nothing of the readers.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import os
import random
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

from watched import Outcome, outcomes

from rewarddiff.check import check
from rewarddiff.data import Ledger, load_groups
from rewarddiff.data.outputs import read_outputs
from rewarddiff.data.passing import count_rows, passing
from rewarddiff.data.questions import read_questions
from rewarddiff.data.vote_files import read_votes
from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.rewards.stored import read_baseline

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"

Rows = list[dict[str, Any]]

ARGUMENTS = [{"id": id, "title": "T", "stance": "yes", "text": f"since {id}"} for id in "123"]

FURTHER: dict[str, Rows] = {
    "alpaca-eval": [
        {"instruction": f"Name tree {n}.", "output": f"Oak {n}.", "generator": "ours"}
        for n in range(3)
    ],
    "mt-bench": [
        {"question_id": 80 + n, "turns": [f"Question {n}?", "And then?"], "category": "writing"}
        for n in range(3)
    ],
}
"""Rows that no format has, but that commands read."""

PLAIN = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

KINDS = (
    *PLAIN,
    *(f"{suffix}.gz" for suffix in PLAIN),
    "folder",
    "dataset_info",
    "saved",
    "sqlite",
    "texts",
)


@cache
def seeds() -> dict[str, Rows]:
    """Return the rows of every format, as the page of formats has them."""
    page = PAGE.read_text("utf-8")
    found: dict[str, Rows] = {}
    for name, section in re.findall(r"^### (\S+)\n(.*?)(?=^##)", page, re.M | re.S):
        example = re.findall(r"```jsonl\n(.*?)```", section, re.S)[0]
        found[name] = [json.loads(line) for line in example.splitlines()]
    return found | FURTHER


# --- values -----------------------------------------------------------------------------------------


def nested(depth: int, kind: str = "[") -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value] if kind == "[" else {"content": value}
    return value


class Raw(str):
    """What is written into JSON as it stands."""


STRANGE: list[Callable[[random.Random], Any]] = [
    lambda rng: None,
    lambda rng: "",
    lambda rng: " \n",
    lambda rng: rng.choice([0, -1, 1, 3.5, 10**15, 10**30, 1e308, -1e-320]),
    lambda rng: rng.choice([math.nan, math.inf, -math.inf]),
    lambda rng: rng.choice([True, False]),
    lambda rng: rng.choice([[], {}, [[]], [{}], [None], {"": None}]),
    lambda rng: {"role": rng.choice(["user", "assistant", "tool", None, 5]), "content": "x"},
    lambda rng: [{"role": "user", "content": rng.choice([None, 5, [], ["x"], {"a": 1}])}],
    lambda rng: [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}],
    lambda rng: [{"from": rng.choice(["human", "gpt", "bot", 7, None]), "value": "x"}],
    lambda rng: {"from": "function_call", "value": rng.choice(["{", "[1]", "{}", "null", '"x"'])},
    lambda rng: rng.choice(["None", "null", "nan", "inf", "1e400", "true", "NaN", "-", "1_000"]),
    lambda rng: "\x00",
    lambda rng: rng.choice(
        ["\ufeff", "\u2028", "\x85", "\U0001f600", "e\u0301", "\u202e", "\x1b[31m"]
    ),
    lambda rng: "\ud800",
    lambda rng: "\udfff half",
    lambda rng: '[{"role": "user", "content": "\\ud800"}]',
    lambda rng: "[" * rng.choice([1, 500, 100_000]),
    lambda rng: '["open',
    lambda rng: "[{'role': 'user', 'content': 'x'}]",
    lambda rng: nested(rng.choice([50, 101, 200, 480, 900]), rng.choice("[{")),
    lambda rng: [
        {"role": "user", "content": "x", "tool_calls": nested(rng.choice([90, 300, 700]))}
    ],
    lambda rng: "x" * rng.choice([1000, 100_000, 1 << 20]),
    lambda rng: list(range(rng.choice([3, 100, 5000]))),
    lambda rng: [str(n) for n in range(rng.choice([2, 300, 3000]))],
    lambda rng: {str(n): n for n in range(rng.choice([3, 3000]))},
    lambda rng: Raw("1e400"),
    lambda rng: Raw("-1e400"),
    lambda rng: Raw("1" * rng.choice([400, 4299, 5000])),
    lambda rng: Raw("-Infinity"),
    lambda rng: Raw('{"a": 1, "a": 2}'),
    lambda rng: Raw("[" * 100_000),
    lambda rng: Raw("nothing"),
]


def with_strange_values(rows: Rows, rng: random.Random) -> Rows:
    """Return the rows with one to three values changed, or keys."""
    rows = json.loads(json.dumps(rows))
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        match rng.randrange(8):
            case 0 if row:
                del row[rng.choice(list(row))]
            case 1:
                row[
                    rng.choice(["prompt", "chosen", "id", "x", "", "system", "tools", "margin"])
                ] = rng.choice(STRANGE)(rng)
            case 2 if row:
                name = rng.choice(list(row))
                row[rng.choice([f"{name}\ud800", f"{name} ", name.upper(), name * 2000])] = row.pop(
                    name
                )
            case 3:
                other = rng.choice(list(seeds().values()))
                rows.insert(rng.randrange(len(rows) + 1), dict(rng.choice(other)))
            case 4:
                rows.append(dict(row))
            case _:
                place = rng.choice(list(_places(row)) or [(row, "x")])
                place[0][place[1]] = rng.choice(STRANGE)(rng)
    return rows


def _places(value: Any, deeper: int = 20) -> Iterator[tuple[Any, Any]]:
    """Yield all objects and lists in a value, each with a key or place of theirs."""
    if isinstance(value, dict | list) and len(value) < 100 and deeper:
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], deeper - 1)


# --- bytes ------------------------------------------------------------------------------------------


def _spliced(content: bytes, rng: random.Random, piece: bytes, deleted: int = 0) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + piece + content[at + deleted :]


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _repeated(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return _spliced(content, rng, content[start : start + rng.choice([1, 20, 500])])


def _as_utf16(content: bytes, rng: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode(
        rng.choice(["utf-16", "utf-16-le", "utf-16-be"])
    )


PIECES = [
    *(
        b"\0",
        b"\0" * 5000,
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\r\n",
    ),
    *(b'"', b'""', b"\\", b"\\ud800", b",", b"\t", b";", b"|", b"{", b"}", b"[", b"]", b":", b"'"),
    *(
        b"[" * 100_000,
        b"{" * 1000,
        b'{"a":' * 100_000,
        b"1" * 6000,
        b"1e400",
        b"NaN",
        b"null",
        b"\n" * 3000,
    ),
    *(
        b"\xe2\x80\xa8",
        b"\x1a",
        b"\x1f\x8b",
        b"PAR1",
        b"BZh",
        b"\xff\xfe",
        b" " * 100_000,
        b"x" * 2_000_000,
    ),
    *(b"sep=;\n", b"[\n", b"{\n", b"\n[1]\n", b"\n{}\n", b"\nnull\n", b'\n"text"\n'),
]

BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": _flipped,
    "cut": lambda content, rng: content[: rng.randrange(len(content) + 1)],
    "beginning lost": lambda content, rng: content[rng.randrange(len(content) + 1) :],
    "deleted": lambda content, rng: _spliced(content, rng, b"", rng.choice([1, 1, 2, 10, 200])),
    "noise": lambda content, rng: _spliced(
        content, rng, rng.randbytes(rng.choice([1, 4, 64, 5000]))
    ),
    "overwritten": lambda content, rng: _spliced(content, rng, rng.randbytes(16), 16),
    "zeroed": lambda content, rng: _spliced(content, rng, bytes(64), 64),
    "repeated": _repeated,
    "piece": lambda content, rng: _spliced(content, rng, rng.choice(PIECES)),
    "piece before": lambda content, rng: rng.choice(PIECES) + content,
    "piece behind": lambda content, rng: content + rng.choice(PIECES),
    "utf-16": _as_utf16,
    "latin-1": lambda content, rng: content.decode("utf-8", "replace").encode("latin-1", "replace"),
    "crlf": lambda content, rng: re.sub(
        rb"\n", lambda _: rng.choice([b"\r\n", b"\n", b"\r", b"\n\n"]), content
    ),
    "empty": lambda content, rng: rng.choice(
        [b"", b"\n", b" ", b"[]", b"{}", b"null", b"\xef\xbb\xbf"]
    ),
    "very long": lambda content, rng: _spliced(
        content, rng, b"long " * rng.choice([1 << 20, 1 << 21])
    ),
    "turned": lambda content, rng: content[::-1],
}


# --- files ------------------------------------------------------------------------------------------


class Made(NamedTuple):
    """A file that was made.

    Attributes:
        what: what it is.
        rows: how many it holds; None where nobody can tell.
    """

    path: Path
    what: str
    rows: int | None


def made(number: int, place: Path) -> Made:
    """Make the file of a number in a folder."""
    rng = random.Random(number)
    kind = rng.choice(KINDS)
    name = rng.choice(list(seeds()))
    if kind == "dataset_info":
        name = "alpaca"
    rows = seeds()[name]
    how = "values"
    if rng.random() < 0.45:
        rows = with_strange_values(rows, rng)
        changed = 0
    else:
        changed = rng.choice([1, 1, 1, 2, 3])
    path = _written(rows, kind, place, rng)
    target = path
    if path.is_dir():
        target = rng.choice(sorted(file for file in path.rglob("*") if file.is_file()))
    inside = target.name.endswith(".gz") and rng.random() < 0.6
    hows = []
    for _ in range(changed):
        how = rng.choice(list(BYTES))
        hows.append(how)
        content = target.read_bytes()
        if inside and _unpacked(content) is not None:
            content = gzip.compress(BYTES[how](_unpacked(content) or b"", rng), 1)
        else:
            content = BYTES[how](content, rng)
        target.write_bytes(content)
    if rng.random() < 0.05 and path.is_file():
        other = path.with_name(f"rows{rng.choice([k for k in KINDS if k.startswith('.')])}")
        path = path.rename(other)
        hows.append("another suffix")
    what = ", ".join(hows) or how
    inner = f" in {target.name}" if target != path else ""
    what = f"{name} {kind}{inner} {what}{' inside' if inside and changed else ''}"
    return Made(path, what, recount(path) if hows else _rows_written(rows, kind, path))


def _rows_written(rows: Rows, kind: str, path: Path) -> int | None:
    """Return how many rows `_written` wrote; of a project's votes None."""
    if kind == "folder":
        return len(rows) * len(_files_of_rows(path))
    return {"sqlite": None, "texts": len(rows) + 1}.get(kind, len(rows))


def _unpacked(content: bytes) -> bytes | None:
    try:
        return gzip.decompress(content)
    except Exception:
        return None


def _written(rows: Rows, kind: str, place: Path, rng: random.Random) -> Path:
    """Write rows as a file, or a folder, of this kind."""
    match kind:
        case "folder":
            folder = place / "folder"
            folder.mkdir()
            (folder / "arguments.jsonl").write_bytes(_packed(ARGUMENTS, ".jsonl"))
            for part in ("pairs.jsonl", "more.csv.gz", "more.json"):
                (folder / part).write_bytes(
                    _packed(rows, part.removeprefix("pairs").removeprefix("more"))
                )
            if rng.random() < 0.5:
                (folder / "more.json").unlink()
            return folder
        case "dataset_info":
            folder = place / "described"
            folder.mkdir()
            columns = {
                "prompt": "question",
                "query": "context",
                "chosen": "good",
                "rejected": "bad",
            }
            info = {"mine": {"file_name": "pairs.json", "ranking": True, "columns": columns}}
            (folder / "dataset_info.json").write_text(json.dumps(info))
            ours = {
                "instruction": "question",
                "input": "context",
                "chosen": "good",
                "rejected": "bad",
            }
            theirs = [{ours.get(name, name): value for name, value in row.items()} for row in rows]
            (folder / "pairs.json").write_bytes(_packed(theirs, ".json"))
            return folder
        case "saved":
            import datasets

            datasets.disable_progress_bars()
            table = _table(rows)
            datasets.Dataset(table).save_to_disk(str(place / "saved"))
            return place / "saved"
        case "sqlite":
            return _project(rows, place, rng)
        case "texts":
            path = place / "texts.json"
            texts = [row.get("prompt", "x") for row in rows]
            path.write_bytes(_json(["Name a tree.", *texts]).encode("utf-8", "surrogatepass"))
            return path
    path = place / f"rows{kind}"
    path.write_bytes(_packed(rows, kind))
    if any("votes_a1" in row for row in rows):
        (place / "arguments.jsonl").write_bytes(_packed(ARGUMENTS, ".jsonl"))
    return path


def _packed(rows: Rows, suffix: str) -> bytes:
    if suffix.endswith(".gz"):
        return gzip.compress(_packed(rows, suffix.removesuffix(".gz")), 1)
    match suffix:
        case ".json":
            return _json(rows).encode("utf-8", "surrogatepass")
        case ".csv" | ".tsv":
            return _cells(rows, "\t" if suffix == ".tsv" else ",")
        case ".parquet":
            import pyarrow.parquet as pq

            buffer = io.BytesIO()
            pq.write_table(_table(rows), buffer)
            return buffer.getvalue()
    return "".join(_json(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def _json(value: Any) -> str:
    """Return a value in JSON, with what is raw in it as it stands."""
    pieces: list[str] = []

    def marked(inner: Any) -> Any:
        if isinstance(inner, Raw):
            pieces.append(str(inner))
            return f"\x01{len(pieces) - 1}\x01"
        if isinstance(inner, dict):
            return {key: marked(each) for key, each in inner.items()}
        if isinstance(inner, list) and len(inner) < 100:
            return [marked(each) for each in inner]
        return inner

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    text = json.dumps(marked(value), ensure_ascii=False)
    sys.setrecursionlimit(limit)
    return re.sub(r'"\\u0001(\d+)\\u0001"', lambda match: pieces[int(match[1])], text)


def _cells(rows: Rows, delimiter: str) -> bytes:
    names = list({name: None for row in rows for name in row})
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names, delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return stream.getvalue().encode("utf-8", "surrogatepass")


def _cell(value: Any) -> Any:
    return value if isinstance(value, str) or value is None else _json(value)


def _table(rows: Rows) -> Any:
    """Return an Arrow table of rows; where they are of several types, of their cells as texts."""
    import pyarrow as pa

    try:
        return pa.Table.from_pylist(rows)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        plain = [{name: _cell(value) for name, value in row.items()} for row in rows]
        return pa.Table.from_pylist(
            [{_valid(name): _valid(cell) for name, cell in row.items()} for row in plain]
        )


def _valid(cell: Any) -> Any:
    return cell.encode("utf-8", "replace").decode() if isinstance(cell, str) else cell


def _project(rows: Rows, place: Path, rng: random.Random) -> Path:
    """Write a project of `rewarddiff annotate`; values of some rows stand in its tables."""
    folder = place / "project"
    folder.mkdir()
    strange = [value for row in rows for value in row.values()]
    database = sqlite3.connect(folder / "annotations.sqlite")
    database.executescript(
        """
        CREATE TABLE settings (key TEXT, value TEXT);
        CREATE TABLE items (id TEXT, place INTEGER, prompt TEXT, a TEXT, b TEXT, source TEXT);
        CREATE TABLE votes (item TEXT, annotator TEXT, grade INTEGER, skipped INTEGER, reason TEXT, seconds REAL);
        """
    )
    tables: list[tuple[str, list[Any]]] = [("settings", ["scale", "5"])]
    for n in range(3):
        source = json.dumps({"a": "base", "b": "tuned"})
        tables.append(
            ("items", [f"i{n}", n, json.dumps(f"Question {n}"), f"a {n}", f"b {n}", source])
        )
        tables.append(("votes", [f"i{n}", "ann", n - 1, 0, "since", 2.5]))
        tables.append(("votes", [f"i{n}", "bob", None, 1, "", 1.5]))
    for _ in range(rng.choice([0, 1, 2])):
        _, values = rng.choice(tables)
        value = rng.choice([*strange, rng.choice(STRANGE)(rng)])
        values[rng.randrange(len(values))] = _sql(value, rng)
    for table, values in tables:
        database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    database.commit()
    database.close()
    return folder


def _sql(value: Any, rng: random.Random) -> Any:
    if isinstance(value, str | dict | list):
        text = value if isinstance(value, str) else _json(value)
        content = text.encode("utf-8", "replace")
        return rng.choice([content, content.decode()])
    return value if not isinstance(value, int) or abs(value) < 1 << 63 else str(value)


# --- a second count ---------------------------------------------------------------------------------


def recount(path: Path) -> int | None:
    """Count the rows of a file or folder without its readers; None where nobody can tell."""
    counts = [_count(file) for file in (_files_of_rows(path) if path.is_dir() else [path])]
    return None if not counts or None in counts else sum(counts)  # type: ignore[arg-type]


def _files_of_rows(folder: Path) -> list[Path]:
    """Return those of a folder that was made here: all but arguments and descriptions."""
    parts = ("pairs.", "more.", "data-")
    return sorted(file for file in folder.rglob("*") if file.name.startswith(parts))


def _count(file: Path) -> int | None:
    content: bytes | None = file.read_bytes()
    if file.suffix == ".gz":
        content = _unpacked(content or b"")
    if content is None:
        return None
    suffix = Path(file.name.removesuffix(".gz")).suffix
    try:
        return COUNTS[suffix](content)
    except Exception:  # of a library, of what is damaged
        return None


def _count_cells(content: bytes, delimiter: str) -> int | None:
    """Count the records below the header, where each has as many cells, and none may hold others."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None
    csv.field_size_limit(sys.maxsize)
    text = io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline="")
    records = [cells for cells in csv.reader(text, delimiter=delimiter, strict=True) if cells]
    header, *others = records
    is_plain = all(not set("\r\n") & set(cell) for cells in records for cell in cells)
    if len(header) < 2 or any(len(cells) != len(header) for cells in others):
        return None
    return len(others) if is_plain or delimiter == "," else None


OVER_LINES = re.compile(rb"\s*(\[\s*\{|[\[{][ \t\r]*\n)")
"""How an array of objects begins, or an object over several lines."""


def _count_array(content: bytes) -> int:
    """Count the elements of an array, or one object; of what is neither, the lines that are not empty."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        value = json.loads(content.decode("utf-8", "surrogateescape"))
    except ValueError:
        return sum(bool(line.strip()) for line in content.split(b"\n"))
    return len(value) if isinstance(value, list) else 1


def _count_lines(content: bytes) -> int:
    """Count the lines that are not empty, or the elements of an array under this name."""
    content = content.removeprefix(codecs.BOM_UTF8)
    if OVER_LINES.match(content):
        return _count_array(content)
    return sum(bool(line.strip()) for line in content.split(b"\n"))


def _count_parquet(content: bytes) -> int:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content)).num_rows


def _count_arrow(content: bytes) -> int:
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all().num_rows


COUNTS: dict[str, Callable[[bytes], int | None]] = {
    ".csv": lambda content: _count_cells(content, ","),
    ".tsv": lambda content: _count_cells(content, "\t"),
    ".json": _count_array,
    ".jsonl": _count_lines,
    ".ndjson": _count_lines,
    ".parquet": _count_parquet,
    ".arrow": _count_arrow,
}


# --- reading ----------------------------------------------------------------------------------------


class Wrong(Exception):
    """A reader said something that is not so."""


def training(path: Path) -> int:
    """Read as a run does, and hold what comes of it against the file; return the rows that are accounted for."""
    ledger = Ledger()
    groups = list(load_groups(path, ledger=ledger, max_drop=1.0))
    content = _content(path)
    for group in groups:
        _require_texts(group, content)
    return ledger.total


def _content(path: Path) -> bytes:
    """Return all that a file holds, unpacked, or the files of a folder do."""
    content = b""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            packed = file.read_bytes()
            content += packed + (_unpacked(packed) or b"")
    return content


def _require_texts(group: Group, content: bytes) -> None:
    """Refuse texts that are made of nothing."""
    prompt = group.prompt
    texts = [
        *group.responses,
        *([prompt] if isinstance(prompt, str) else [m.content for m in prompt]),
    ]
    for text in texts:
        if not isinstance(text, str):
            raise Wrong(f"a text is {text!r}")
        if "None" in text and b"None" not in content:
            raise Wrong(f"nothing was read as the text {text[:80]!r}")
    if not all(response.strip() for response in group.responses):
        raise Wrong("an empty response goes on")


def checking(path: Path) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        check(str(path), max_drop=1.0)
    if not printed.getvalue():
        raise Wrong("nothing is said")


def scoring(path: Path) -> int:
    total = sum(unread.read().ledger.total for unread in passing([path]))
    counted = count_rows([path])
    if counted is None or counted < 0:  # of lines it counts what is empty, too
        raise Wrong(f"{counted} rows are counted, and {total} read")
    return total


COUNTING: dict[str, Callable[[Path], int]] = {"training": training, "score": scoring}
"""Readers that say how many rows they account for."""

READERS: dict[str, Callable[[Path], Any]] = {
    **COUNTING,
    "check": checking,
    "questions": read_questions,
    "outputs": read_outputs,
    "votes": read_votes,
    "baseline": read_baseline,
}


@contextmanager
def prepared(case: str) -> Iterator[Made]:
    """Make the file of a number, and take it away again."""
    with tempfile.TemporaryDirectory(prefix="rewarddiff-faults-") as folder:
        yield made(int(case), Path(folder))


def judge(subject: Made) -> tuple[str, float]:
    """Read a file, and say what came of it."""
    verdict, seconds = read_by_all(subject.path, subject.rows)
    count = "" if subject.rows is None else f" of {subject.rows} rows"
    return f"{verdict}{count}: {subject.what}", seconds


def read_by_all(path: Path, rows: int | None) -> tuple[str, float]:
    """Let every reader read a file of so many rows; say how the first ended, or which of them went wrong.

    Returns also the seconds of the slowest.
    """
    verdicts = []
    slowest = 0.0
    for name, read in READERS.items():
        if name == "baseline" and path.is_dir():
            continue
        begun = time.process_time()
        try:
            result = read(path)
            if name in COUNTING and rows not in (None, result):
                raise Wrong(f"{result} rows are accounted for, the file has {rows}")
        except UserError as error:
            verdicts.append("refused")
            fault = fault_of(str(error), path)
            if fault:
                return f"{name}: {fault}", 0.0
        except Exception as error:
            return f"{name}: {type(error).__name__}: {error}"[:300], 0.0
        else:
            verdicts.append("groups")
        slowest = max(slowest, time.process_time() - begun)
    return verdicts[0], slowest


def fault_of(message: str, path: Path) -> str:
    """Return what is wrong with the line that refuses a file; empty: nothing."""
    if "\n" in message or not message.strip():
        return f"not one line: {message!r}"
    if len(message) > 3000:
        return f"a line of {len(message)} characters"
    names = {path.name, *(file.name for file in path.rglob("*"))}
    if not any(name in message for name in names):
        return f"names no file: {message[:200]}"
    return ""


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    if "--only" in sys.argv:
        folder = Path(tempfile.mkdtemp(prefix="rewarddiff-faults-"))
        subject = made(number, folder)
        print(f"{subject.path}: {subject.what}")
        print(Outcome(str(number), *judge(subject)).line())
        return
    verdicts: Counter[str] = Counter()
    recounted = 0
    faults = []
    highest = longest = 0.0
    for outcome in outcomes([str(n) for n in range(number)], prepared, judge):
        fault = outcome.fault
        verdicts["wrong" if fault else outcome.verdict.partition(":")[0].split()[0]] += 1
        recounted += bool(re.match(r"groups of \d+ rows", outcome.verdict))
        highest, longest = max(highest, outcome.mib), max(longest, outcome.seconds)
        print(outcome.line(), flush=True)
        if fault:
            faults.append(outcome.line())
    print(f"{recounted} of the groups come of rows that were counted apart from the readers")
    print(dict(verdicts), f"at most {longest:.1f} s and {highest:.0f} MiB")
    print(*faults, sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
