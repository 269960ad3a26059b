"""Files, folders and datasets; what is broken, repeated or cut."""

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewarddiff.check import check
from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison

ROWS: list[dict[str, Any]] = [
    {
        "prompt": f"Prompt, {n}",
        "chosen": f'good "{n}"\nline',
        "rejected": f"bäd {n}",
        "margin": float(n),
    }
    for n in range(5)
]


def lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write(path: Path) -> Path:
    """ROWS in the form that the path's name asks for."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".jsonl":
        plain.write_bytes(lines(ROWS))
    elif plain.suffix == ".json":
        plain.write_text(json.dumps(ROWS, indent=1))
    elif plain.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), plain)
    else:
        with plain.open("w", newline="") as stream:
            writer = csv.DictWriter(
                stream, ROWS[0], delimiter="\t" if plain.suffix == ".tsv" else ","
            )
            writer.writeheader()
            writer.writerows(ROWS)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_every_kind_of_file_says_the_same(tmp_path: Path, suffix: str, zipped: str) -> None:
    ledger = Ledger()
    groups = list(read(write(tmp_path / f"rows{suffix}{zipped}"), ledger=ledger))
    assert [g.prompt for g in groups] == [row["prompt"] for row in ROWS]
    assert [g.responses for g in groups] == [(row["chosen"], row["rejected"]) for row in ROWS]
    assert [g.comparisons for g in groups] == [(Comparison(0, 1, float(n)),) for n in range(5)]
    assert (ledger.kept, ledger.dropped) == (5, 0)


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    # each CSV row spans two lines after the header: rows begin on lines 2, 4, 6, 8, 10
    sources = [g.source for g in read(write(tmp_path / "rows.csv"), ledger=Ledger())]
    assert sources == [f"rows.csv:{n}" for n in (2, 4, 6, 8, 10)]
    # a blank line is no row, but it is a line
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines(ROWS[:1]) + b"\n" + lines(ROWS[1:2]))
    assert [g.source for g in read(path, ledger=Ledger())] == ["rows.jsonl:1", "rows.jsonl:3"]


def test_json_may_hold_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"\n" + lines(ROWS))
    assert [g.source for g in read(path, ledger=Ledger())][:2] == ["rows.json:2", "rows.json:3"]


BROKEN = [
    b'{"prompt": "x", "chosen"',
    b"[1, 2]",
    b"null",
    b'{"prompt": "\xff", "chosen": "a", "rejected": "b"}',
    rb'{"prompt": "\ud800", "chosen": "a", "rejected": "b"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize(
    "broken", BROKEN, ids=["cut", "list", "null", "bytes", "surrogate", "deep"]
)
@pytest.mark.parametrize("at", [0, 2])
def test_malformed_lines_are_counted(tmp_path: Path, broken: bytes, at: int) -> None:
    good = lines(ROWS).splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_bytes(b"".join([*good[:at], broken + b"\n", *good[at:]]))
    ledger = Ledger()
    assert len(list(read(tmp_path / "rows.jsonl", ledger=ledger))) == 5
    assert ledger.dropped == ledger.count("unreadable") == 1
    assert (
        ledger.to_dict()["dropped"]["unreadable"]["examples"][0]["source"] == f"rows.jsonl:{at + 1}"
    )


def test_malformed_csv_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,chosen,rejected\nx,a,b\ny,a\nz,a,"b"c\nw,\xff,b\nv,a,b\n')
    ledger = Ledger()
    assert [g.prompt for g in read(path, ledger=ledger)] == ["x", "v"]
    assert (ledger.kept, ledger.dropped, ledger.count("unreadable")) == (2, 3, 3)


def many() -> bytes:
    return lines(
        [
            {"prompt": f"{n * 7919} {n}", "chosen": f"{n * n}", "rejected": "b"}
            for n in range(20_000)
        ]
    )


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_gz_gives_its_rows_and_then_stops(tmp_path: Path, share: float) -> None:
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(many(), mtime=0)
    path.write_bytes(whole[: int(len(whole) * share)])
    ledger, prompts = Ledger(), []
    with pytest.raises(UserError) as error:
        prompts.extend(group.prompt for group in read(path, ledger=ledger))
    assert len(prompts) > 1000
    assert prompts == [f"{n * 7919} {n}" for n in range(len(prompts))]
    assert (ledger.kept, ledger.count("unreadable")) == (len(prompts), 1)
    place = ledger.to_dict()["dropped"]["unreadable"]["examples"][0]["source"]
    assert place == f"rows.jsonl.gz:{len(prompts) + 1}"
    assert f"{path}:{len(prompts) + 1}: the file ends in the middle" in str(error.value)
    assert f"last good row is {len(prompts)}; download it again" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_gz_stops(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(many(), mtime=0))
    whole[len(whole) // 2 : len(whole) // 2 + 50] = b"\0" * 50
    (tmp_path / "rows.jsonl.gz").write_bytes(bytes(whole))
    with pytest.raises(UserError, match="download it again"):
        list(read(tmp_path / "rows.jsonl.gz", ledger=Ledger()))


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl.gz"])
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(lines(ROWS))
    with pytest.raises(UserError, match=rf"{name}:1: the data is damaged"):
        list(read(tmp_path / name, ledger=Ledger()))


def test_parts_of_a_collection_may_rate_the_same_responses(tmp_path: Path) -> None:
    """A pair is two groups where two parts disagree on it; twice in one part is one too many."""
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "subset": "helpful"},
        {"prompt": "p", "chosen": "b", "rejected": "a", "subset": "harmless"},
        {"prompt": "p", "chosen": "a", "rejected": "b", "subset": "helpful"},
    ]
    path = tmp_path / "parts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ledger = Ledger()
    groups = list(read(path, ledger=ledger))
    assert [(group.subset, next(group.known_comparisons()).chosen) for group in groups] == [
        ("helpful", 0),
        ("harmless", 0),
    ]
    assert [group.responses[0] for group in groups] == ["a", "b"]
    assert ledger.dropped == 1


def test_repeats_and_contradictions(tmp_path: Path) -> None:
    rows = [
        {"prompt": "x", "chosen": "a", "rejected": "b"},
        {
            "prompt": "x",
            "chosen": "a",
            "rejected": "b ",
            "margin": 2,
        },  # the same, but for a space and a strength
        {"prompt": "x", "chosen": "b", "rejected": "a"},
        {"prompt": "y", "chosen": "b", "rejected": "a"},  # another prompt
        {"prompt": "x", "chosen": "a", "rejected": "c"},  # another response
        {
            "prompt": [{"role": "user", "content": "x"}],
            "chosen": "a",
            "rejected": "b",
        },  # a conversation is no text
    ]
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    ledger = Ledger()
    groups = list(read(tmp_path / "rows.jsonl", ledger=ledger))
    assert [g.source for g in groups] == [f"rows.jsonl:{n}" for n in (1, 4, 5, 6)]
    assert ledger.to_dict()["dropped"]["duplicate"]["examples"][0]["source"] == "rows.jsonl:2"
    assert ledger.to_dict()["dropped"]["contradictory"]["examples"][0]["source"] == "rows.jsonl:3"


def test_repeated_lists_in_another_order(tmp_path: Path) -> None:
    rows = [
        {"prompt": "x", "responses": ["a", "b", "c"], "scores": [1, 2, 3]},
        {"prompt": "x", "responses": ["c", "a", "b"], "scores": [9, 4, 5]},  # c > b > a again
        {"prompt": "x", "responses": ["c", "a", "b"], "scores": [9, 5, 4]},  # c > a > b
    ]
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    ledger = Ledger()
    assert len(list(read(tmp_path / "rows.jsonl", ledger=ledger))) == 1
    assert ledger.count("duplicate") == ledger.count("contradictory") == 1


def test_ids_are_unique_and_do_not_depend_on_place(tmp_path: Path) -> None:
    rows = [
        {"id": "q", "prompt": "x", "chosen": "a", "rejected": "b"},
        {"id": "q", "prompt": "y", "chosen": "a", "rejected": "b"},
        {"prompt": "z", "chosen": "a", "rejected": "b"},
    ]
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    ids = [g.id for g in read(tmp_path / "rows.jsonl", ledger=Ledger())]
    assert ids[:2] == ["q", "q-2"]
    (tmp_path / "rows.jsonl").write_bytes(lines(rows[::-1]))
    assert next(read(tmp_path / "rows.jsonl", ledger=Ledger())).id == ids[2]


def test_unknown_columns_name_the_nearest_format(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines([{"prompt": "x", "chosen": "a", "reject": "b"}]))
    with pytest.raises(UserError) as error:
        list(read(tmp_path / "rows.jsonl", ledger=Ledger()))
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'rows.jsonl'}:1: columns prompt, chosen, reject ")
    assert "(prompt, chosen, rejected): missing rejected; rename" in message
    assert "\n" not in message


def test_named_format(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    assert len(list(read(path, format="trl", ledger=Ledger()))) == 5
    ledger = Ledger()
    assert list(read(path, format="rrhf", ledger=ledger)) == []
    assert ledger.count("missing_field") == 5
    with pytest.raises(UserError, match=r"format=trll: .*did you mean trl\?"):
        read(path, format="trll", ledger=Ledger())


def test_no_such_source(tmp_path: Path) -> None:
    for source in (tmp_path / "none.jsonl", str(tmp_path / "none"), "none.csv", "./none/here"):
        with pytest.raises(UserError, match="no such file or folder"):
            read(source, ledger=Ledger())
    (tmp_path / "rows.txt").touch()
    with pytest.raises(UserError, match="rename it to one of"):
        read(tmp_path / "rows.txt", ledger=Ledger())
    with pytest.raises(UserError, match="has no split 'train'"):
        read("demo", split="train", ledger=Ledger())


def test_nothing_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(UserError, match="is empty; give a file that holds rows"):
        load_groups(tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text("nothing\nhere\n")
    with pytest.raises(
        UserError, match=r"rows\.jsonl:1: none of 2 rows can be read \(not valid JSON.*mend"
    ):
        load_groups(tmp_path / "rows.jsonl")


def test_folder_and_its_splits(tmp_path: Path) -> None:
    for name, part in (("train-00000-of-00002", 0), ("train-00001-of-00002", 1), ("test", 2)):
        (tmp_path / f"{name}.jsonl").write_bytes(lines([ROWS[part]]))
    (tmp_path / "deep" / "test").mkdir(parents=True)
    (tmp_path / "deep" / "test" / "x.jsonl").write_bytes(lines([ROWS[3]]))
    (tmp_path / "README.md").write_text("words")
    (tmp_path / ".hidden.jsonl").write_text("words")
    with pytest.raises(
        UserError,
        match=f"{tmp_path}: several splits; name one of test, train, as in {tmp_path}#test$",
    ):
        read(tmp_path, ledger=Ledger())
    assert [g.source for g in read(tmp_path, split="train", ledger=Ledger())] == [
        "train-00000-of-00002.jsonl:1",
        "train-00001-of-00002.jsonl:1",
    ]
    assert [g.source for g in read(tmp_path, split="test", ledger=Ledger())] == [
        "deep/test/x.jsonl:1",
        "test.jsonl:1",
    ]
    with pytest.raises(UserError, match="no split 'dev'; name one of test, train"):
        read(tmp_path, split="dev", ledger=Ledger())


def test_saved_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=data, test=data.select([0])).save_to_disk(str(tmp_path / "two"))
    assert len(list(read(tmp_path / "one", ledger=Ledger()))) == 5
    (group,) = read(tmp_path / "two", split="test", ledger=Ledger())
    assert group.prompt == ROWS[0]["prompt"]
    assert group.source.endswith("[test]:1")
    for split, cause in ((None, "several splits"), ("dev", "no split 'dev'")):
        with pytest.raises(UserError, match=f"{cause}; name one of train, test"):
            read(tmp_path / "two", split=split, ledger=Ledger())


def test_import_is_light() -> None:
    heavy = "{'torch', 'datasets', 'transformers', 'pandas'}"
    code = f"import sys, rewarddiff.data; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_columns_of_nothing_known_are_answered_with_all_formats(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text('{"height": "a", "width": "b"}\n')
    with pytest.raises(
        UserError, match=r"columns height, width are in no known format; .*trl \(.*chosen, rejected"
    ):
        list(read(path, ledger=Ledger()))


def test_a_file_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    path = tmp_path / "same.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "a"}\n')
    with pytest.raises(UserError, match=r"1 of 1 rows dropped.* identical_responses"):
        load_groups(path, max_drop=1)


def test_check_tells_which_columns_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = {"role": "user", "content": "x", "weight": 1}
    answers = {"chosen": "a", "rejected": "b", "margin": 1, "id": "1", "source": "web"}
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        lines([{"prompt": [turn], **answers, "grade": 5, "system": ""}, {"prompt": "y", **answers}])
    )
    check(str(path))
    assert "  not read: grade, weight of the turns in prompt\n" in capsys.readouterr().out
    path.write_bytes(lines([{"prompt": "y", **answers}]))
    check(str(path))
    assert "not read" not in capsys.readouterr().out
