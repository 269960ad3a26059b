"""A file that is made of data is none of those read, and no further one of their folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewarddiff.cli import main
from rewarddiff.data import load_groups
from rewarddiff.data.sources import takes_in
from rewarddiff.errors import UserError
from rewarddiff.pipeline.data import file_made_of

COMMANDS = {
    "score": ["score", "S", "DATA"],
    "augment": ["augment", "DATA", "--model", "M", "--scorer", "S"],
    "baseline": ["baseline", "DATA", "--model", "M", "--scorer", "S"],
    "designs": ["designs", "S", "DATA"],
}


def write(path: Path, word: str = "yes") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"prompt": f"Say {word}", "chosen": word, "rejected": "no"}) + "\n")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for split in ("train", "test"):
        write(tmp_path / "fold" / f"{split}.jsonl", split)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "fold"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["test.jsonl", "train.jsonl", "new.jsonl", "deep/new.json"])
@pytest.mark.parametrize("data", ["fold#test", "../fold#test"])
def test_a_folder_of_rows_takes_no_output(
    folder: Path,
    command: str,
    name: str,
    data: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {path.name: path.read_text() for path in folder.iterdir()}
    if data.startswith(".."):
        (folder.parent / "here").mkdir()
        monkeypatch.chdir(folder.parent / "here")
    arguments = [data if word == "DATA" else word for word in COMMANDS[command]]
    assert main([*arguments, "--output", str(folder / name)]) == 2
    message = "lies in the data's folder, and would be read as data there; choose another output"
    assert capsys.readouterr().err == f"rewarddiff: error: {folder / name}: {message}\n"
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_a_file_read_from_elsewhere_is_not_replaced(tmp_path: Path) -> None:
    real = write(tmp_path / "real.jsonl")
    (tmp_path / "fold").mkdir()
    (tmp_path / "fold" / "link.jsonl").symlink_to(real)
    with (
        pytest.raises(UserError, match="would replace what is read"),
        file_made_of(tmp_path / "fold", real),
    ):
        pytest.fail("the work was begun")


@pytest.mark.parametrize(
    "name",
    [
        "a.jsonl",
        "deep/a.csv",
        "a.jsonl.gz",
        "notes.md",
        ".a.jsonl",
        ".deep/a.jsonl",
        "__old/a.jsonl",
        "state.json",
    ],
)
def test_what_a_folder_takes_in_is_what_reading_it_finds(tmp_path: Path, name: str) -> None:
    """A broken file of rows makes reading fail; any other file is passed over."""
    write(tmp_path / "rows.jsonl")
    taken = takes_in(tmp_path, tmp_path / name)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"broken\nx')
    try:
        load_groups(tmp_path)
        found = False
    except UserError:
        found = True
    assert taken == found


def test_beside_a_file_or_a_folder_there_is_room(folder: Path, tmp_path: Path) -> None:
    for data, output in (
        (folder / "test.jsonl", folder / "new.jsonl"),
        (f"{folder}#test", tmp_path / "fold.jsonl"),
    ):
        with file_made_of(data, output):
            output.write_text("made")
        assert output.read_text() == "made"
