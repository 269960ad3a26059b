"""Files that unpack to a thousand times their size, devices, odd names: one line each, in bounded memory.

    python tests/faults/bombs.py            # all of them
    python tests/faults/bombs.py gz         # those whose name holds this

Each is given to `rewarddiff check`, or to the command that reads such a file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

from watched import made_elsewhere, outcomes

from rewarddiff.cli import main as command
from rewarddiff.config import load_recipe
from rewarddiff.data.vote_files import read_votes
from rewarddiff.errors import UserError
from rewarddiff.pipeline.recipe import Recipe

GB = 1 << 30

PAIR = {"prompt": "Name a tree.", "chosen": "Oak", "rejected": "A stone"}


def lines(count: int = 3, **more: Any) -> bytes:
    rows = [{**PAIR, "prompt": f"Name tree {n}.", **more} for n in range(count)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def packed(path: Path, piece: bytes, times: int, before: bytes = b"", behind: bytes = b"") -> Path:
    """Write a gzipped file of a piece that is repeated."""
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(before)
        block = piece * max(1, (1 << 20) // len(piece))
        for _ in range(times * len(piece) // len(block)):
            stream.write(block)
        stream.write(behind)
    return path


def of_pieces(
    name: str, piece: bytes, before: bytes = b"", behind: bytes = b"", size: int = GB
) -> Any:
    """Return what makes a gzipped file of so many bytes of a piece."""
    return lambda place: packed(place / name, piece, size // len(piece), before, behind)


def sparse(place: Path, name: str, before: bytes = b"", size: int = 1 << 40) -> Path:
    path = place / name
    path.write_bytes(before)
    os.truncate(path, size)
    return path


def parquet(place: Path, columns: Any, **options: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = place / "rows.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


def texts(count: int, length: int) -> Any:
    return ["x" * length] * count


def one_long_value(place: Path, codec: str) -> Path:
    columns = {"prompt": ["p"], "chosen": texts(1, GB >> 2), "rejected": ["r"]}
    return parquet(place, columns, compression=codec)


def dictionary(place: Path, count: int, length: int) -> Path:
    """Write a Parquet file of many rows with the same long text, held once."""
    import pyarrow as pa

    indices = pa.array([0] * count, pa.int32())
    long = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * length]))
    names = [str(n) for n in range(count)]
    columns = {"prompt": names, "chosen": long, "rejected": names}
    return parquet(place, columns, compression="zstd", dictionary_pagesize_limit=1 << 30)


def declared(place: Path) -> Path:
    """Write a Parquet file whose end says that it has far more rows than it holds."""
    path = parquet(place, {name: [f"{name} {n}" for n in range(3)] for name in PAIR})
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    end = content[-8 - length : -8]
    # Thrift's compact way: field 3 of the metadata, num_rows, is an i64 in zigzag: 3 is 06.
    more = end.replace(b"\x16\x06\x19", b"\x16\xfe\xff\xff\x7f\x19", 1)
    assert more != end
    new = len(more).to_bytes(4, "little")
    path.write_bytes(content[: -8 - length] + more + new + content[-4:])
    return path


def in_folder(place: Path, name: str | bytes, content: bytes | None = None) -> Path:
    path = Path(os.fsdecode(os.path.join(os.fsencode(place), os.fsencode(name))))
    path.write_bytes(lines() if content is None else content)
    return path


def pipe(place: Path, name: str = "rows.jsonl") -> Path:
    os.mkfifo(place / name)
    return place / name


def link(place: Path, to: str, name: str = "rows.jsonl") -> Path:
    (place / name).symlink_to(to)
    return place / name


def bound(place: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(place / "rows.jsonl"))
    return place / "rows.jsonl"


def folder(place: Path, name: str) -> Path:
    (place / name).mkdir()
    return place / name


def forbidden(place: Path) -> Path:
    path = in_folder(place, "rows.jsonl")
    path.chmod(0)
    return path


def loop_of_folders(place: Path) -> Path:
    path = folder(place, "data")
    in_folder(path, "rows.jsonl")
    (path / "again").symlink_to(path)
    (path / "up").symlink_to(place)
    return path


def beside_a_pipe(place: Path) -> Path:
    """A pipe lies where LLaMA-Factory's description of the files would."""
    pipe(place, "dataset_info.json")
    return in_folder(place, "rows.jsonl")


def deep_row(place: Path) -> Path:
    deep = b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    return in_folder(place, "rows.jsonl", deep + lines())


def heavy_json(place: Path) -> Path:
    """The most memory that a row can take: a million small objects in 8 MiB."""
    row = b'{"prompt": [' + b'{"":0},' * 1_100_000 + b'{"":0}], "chosen": "a", "rejected": "b"}\n'
    return in_folder(place, "rows.jsonl", row * 3 + lines())


def long_rows(place: Path) -> Path:
    """Fifteen rows of 7 MiB, each of which may be read."""
    long = "x" * (7 << 20)
    path = place / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for n in range(15):
            row = {"prompt": f"{n}", "chosen": f"{n} {long}", "rejected": "b"}
            stream.write(json.dumps(row).encode() + b"\n")
    return path


def many_responses(place: Path, count: int, column: str) -> Path:
    responses = [f"answer {n}" for n in range(count)]
    row = {"prompt": "p", "responses": responses, column: list(range(count))}
    return in_folder(
        place,
        "rows.jsonl",
        json.dumps(row).encode()
        + b"\n"
        + json.dumps({"prompt": "q", "responses": ["a", "b"], column: [1, 2]}).encode(),
    )


def many_columns(place: Path, suffix: str) -> Path:
    names = [f"column {n}" for n in range(300_000)]
    if suffix == ".csv":
        content = ",".join(names) + "\n" + ",".join("x" for _ in names) + "\n"
    else:
        content = json.dumps(dict.fromkeys(names, "x")) + "\n"
    return in_folder(place, f"rows{suffix}", content.encode())


def repeated_key(place: Path) -> Path:
    keys = ",".join(f'"{n}":0' for n in range(500_000))
    return in_folder(place, "rows.jsonl", f'{{{keys},"499999":1}}\n'.encode() + lines())


def project(place: Path, votes: str) -> Path:
    """An annotation project whose table of votes, and what more is said of it, is given in SQL."""
    path = place / "annotations.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            f"""
            CREATE TABLE settings (key TEXT, value TEXT);
            CREATE TABLE items (id TEXT, place INTEGER, prompt TEXT, a TEXT, b TEXT, source TEXT);
            {votes}
            """
        )
    return path


def endless_view(place: Path) -> Path:
    """A table of a project that is computed, and never ends."""
    return project(
        place,
        """
        CREATE VIEW votes AS
            WITH RECURSIVE n(item) AS (SELECT 'i' UNION ALL SELECT item FROM n)
            SELECT item, 'ann' AS annotator, 1 AS grade, 0 AS skipped, '' AS reason, 1.0 AS seconds FROM n;
        """,
    )


def joined(place: Path) -> Path:
    """A small project of one id: its items and votes would be nine million together."""
    columns = "item TEXT, annotator TEXT, grade INTEGER, skipped INTEGER, reason TEXT, seconds REAL"
    path = project(place, f"CREATE TABLE votes ({columns});")
    with closing(sqlite3.connect(path)) as database, database:
        for _ in range(3000):
            database.execute("INSERT INTO items VALUES ('i', 0, '\"p\"', 'a', 'b', '')")
            database.execute("INSERT INTO votes VALUES ('i', 'ann', 1, 0, '', 1.0)")
    return path


def computed(place: Path) -> Path:
    """A project with a column that is computed anew whenever it is read."""
    return project(
        place,
        """
        CREATE TABLE votes (item TEXT, annotator TEXT, grade INTEGER, skipped INTEGER, seconds REAL,
                            reason TEXT AS (hex(zeroblob(400000000))));
        INSERT INTO items VALUES ('i', 0, '"p"', 'a', 'b', '');
        INSERT INTO votes VALUES ('i', 'ann', 1, 0, 1.0);
        """,
    )


def laughs(place: Path, text: str) -> Path:
    """YAML in which a few lines stand for a billion values."""
    levels = ["a0: &a0 {x0: 1, y0: 2}"]
    for n in range(1, 12):
        aliases = ", ".join([f"*a{n - 1}"] * 9)
        levels.append(f"a{n}: &a{n} {text.format(aliases=aliases)}")
    return in_folder(place, "recipe.yaml", "\n".join(levels).encode())


BOMBS: dict[str, Callable[[Path], Path]] = {
    "gz of zeros": of_pieces("rows.jsonl.gz", b"\0"),
    "gz of [": of_pieces("rows.jsonl.gz", b"["),
    "gz of [ as json": of_pieces("rows.json.gz", b"["),
    "gz of {": of_pieces("rows.json.gz", b'{"a":'),
    "gz of zeros as json": of_pieces("rows.json.gz", b"\0"),
    "gz of zeros as csv": of_pieces("rows.csv.gz", b"\0"),
    "gz of zeros as parquet": of_pieces("rows.parquet.gz", b"\0"),
    "gz of zeros behind PAR1": of_pieces("rows.parquet.gz", b"\0", b"PAR1"),
    "gz of blanks": of_pieces("rows.jsonl.gz", b" "),
    "gz of an array that is one text": of_pieces("rows.json.gz", b"x", b'[{"prompt": "'),
    "gz of an array of numbers on one line": of_pieces("rows.json.gz", b"1,", b"[", b"1]", 1 << 21),
    "gz of an object over lines": of_pieces("rows.json.gz", b"x", b'{\n"prompt": "'),
    "gz of a csv cell that never ends": of_pieces(
        "rows.csv.gz", b"x\n", b'prompt,chosen,rejected\n"', b"", 1 << 23
    ),
    "gz of csv cells that never end": of_pieces(
        "rows.csv.gz", b'"\n",', b"prompt,chosen,rejected\n", b"", 1 << 22
    ),
    "gz of a csv header that never ends": of_pieces("rows.csv.gz", b"x,"),
    "gz of quotation marks": of_pieces("rows.csv.gz", b'"', b"", b"", 1 << 23),
    "gz of UTF-16": of_pieces("rows.csv.gz", b"x\0", b"\xff\xfe"),
    "gz of 15 rows of 7 MiB": long_rows,
    "gz in gz": lambda place: in_folder(
        place, "rows.jsonl.gz", gzip.compress(gzip.compress(lines()))
    ),
    "bz2 of zeros": lambda place: in_folder(place, "rows.jsonl.bz2", bz2.compress(bytes(1 << 26))),
    "xz of zeros": lambda place: in_folder(place, "rows.jsonl.xz", lzma.compress(bytes(1 << 26))),
    "zst": lambda place: in_folder(place, "rows.jsonl.zst", b"\x28\xb5\x2f\xfd" + bytes(99)),
    "zip": lambda place: in_folder(place, "rows.jsonl.zip", b"PK\x03\x04" + bytes(99)),
    "sparse file of 1 TB": lambda place: sparse(place, "rows.jsonl"),
    "sparse array of 1 TB": lambda place: sparse(place, "rows.json", b'[{"prompt": "'),
    "sparse csv of 1 TB": lambda place: sparse(place, "rows.csv", b"prompt,chosen,rejected\n"),
    "sparse parquet of 1 TB": lambda place: sparse(place, "rows.parquet", b"PAR1"),
    "parquet of one text of 256 MB, zstd": lambda place: one_long_value(place, "zstd"),
    "parquet of one text of 256 MB, snappy": lambda place: one_long_value(place, "snappy"),
    "parquet of 100 rows with one text of 1 MB": lambda place: dictionary(place, 100, 1 << 20),
    "parquet of 10,000 rows with one text of 9 MB": lambda place: dictionary(
        place, 10_000, 9 << 20
    ),
    "parquet that declares 134 million rows": declared,
    "nested 100,000 deep": deep_row,
    "rows of a million objects": heavy_json,
    "300,000 columns of csv": lambda place: many_columns(place, ".csv"),
    "300,000 columns of json": lambda place: many_columns(place, ".jsonl"),
    "500,000 keys, one twice": repeated_key,
    "20,000 responses with scores": lambda place: many_responses(place, 20_000, "scores"),
    "20,000 responses with ranks": lambda place: many_responses(place, 20_000, "ranks"),
    "512 responses with scores": lambda place: many_responses(place, 512, "scores"),
    "512 responses with ranks": lambda place: many_responses(place, 512, "ranks"),
    "pipe": pipe,
    "pipe in a folder": lambda place: pipe(place).parent,
    "pipe beside a file": beside_a_pipe,
    "link to /dev/zero": lambda place: link(place, "/dev/zero"),
    "link to /dev/stdin": lambda place: link(place, "/dev/stdin"),
    "/dev/stdin": lambda place: Path("/dev/stdin"),
    "/dev/null": lambda place: Path("/dev/null"),
    "socket": bound,
    "link to nothing": lambda place: link(place, "nowhere"),
    "link to itself": lambda place: link(place, "rows.jsonl"),
    "links of folders in circles": loop_of_folders,
    "folder with the name of a file": lambda place: folder(place, "rows.jsonl"),
    "no permissions": forbidden,
    "name with a line feed": lambda place: in_folder(place, "a\nb.jsonl"),
    "name with control characters": lambda place: in_folder(place, "a\x1b[31m\x07.jsonl"),
    "name of dots": lambda place: in_folder(place, "...jsonl"),
    "name with two dots in its path": lambda place: in_folder(folder(place, "x"), "../rows.jsonl"),
    "name with a dash before": lambda place: in_folder(place, "-rows.jsonl"),
    "name of 255 bytes": lambda place: in_folder(place, "n" * 249 + ".jsonl"),
    "name of 300 bytes": lambda place: place / ("n" * 294 + ".jsonl"),
    "name that is not UTF-8": lambda place: in_folder(place, b"na\xefve.jsonl"),
    "name with a number sign": lambda place: in_folder(place, "rows#train.jsonl"),
    "empty name": lambda place: Path(" "),
    "votes of a view that never ends": endless_view,
    "votes on items of one id": joined,
    "votes with a column that is computed": computed,
    "recipe of a billion values": lambda place: laughs(place, "[{aliases}]"),
    "recipe of a billion keys": lambda place: laughs(place, "{{<<: [{aliases}]}}"),
    "recipe that is a pipe": lambda place: pipe(place, "recipe.yaml"),
    "recipe of /dev/zero": lambda place: link(place, "/dev/zero", "recipe.yaml"),
    "recipe nested 50,000 deep": lambda place: in_folder(place, "recipe.yaml", b"[" * 50_000),
    "recipe of 10 MB": lambda place: in_folder(place, "recipe.yaml", b"# x\n" * 2_500_000),
}


@contextmanager
def prepared(case: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rewarddiff-faults-") as place:
        yield made_elsewhere(lambda: BOMBS[case](Path(place)))


def judge(path: Path) -> tuple[str, float]:
    return (of_recipe(path) if path.suffix == ".yaml" else of_data(path)), 0.0


def of_recipe(path: Path) -> str:
    try:
        load_recipe(path, [], Recipe)
    except UserError as error:
        return f"refused: {str(error)[-150:]}"
    return "groups, and no recipe"


def of_data(path: Path) -> str:
    """Say what `rewarddiff check` makes of a file."""
    if path.suffix == ".sqlite":
        return of_votes(path)
    printed, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(errors):
        status = command(["check", "--max-drop", "1", "--", str(path)])
    said = errors.getvalue()
    if status == 0:
        kept = printed.getvalue().partition("\n")[0]
        return f"groups: {kept}"
    if status != 2 or len(said.splitlines()) != 1:
        return f"status {status}: {said[-300:]}"
    return f"refused: {said.strip()[-150:]}"


def of_votes(path: Path) -> str:
    try:
        read_votes(path)
    except UserError as error:
        return f"refused: {str(error)[-150:]}"
    return "groups of votes"


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    faults = 0
    count = 0
    for outcome in outcomes([name for name in BOMBS if wanted in name], prepared, judge, at_once=1):
        count += 1
        faults += bool(outcome.fault)
        print(outcome.line(), flush=True)
    print(f"{count} cases, {faults} wrong")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
