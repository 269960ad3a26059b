"""Directories that know what they were made from."""

from __future__ import annotations

import json
import math
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rewarddiff.pipeline.stage as module
from rewarddiff import files
from rewarddiff.errors import UserError
from rewarddiff.pipeline.stage import Stage, write_json
from rewarddiff.sums import read_sealed


def started(folder: Path, **inputs: Any) -> Stage:
    return Stage(folder, "scores", inputs)


def finished(folder: Path, **inputs: Any) -> Stage:
    stage = started(folder, **inputs)
    (folder / "scores.npy").write_text("42")
    stage.finish(count=1)
    return stage


def test_a_stage_is_done_when_its_manifest_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "scores"
    stage = started(folder, model="m", seed=0)
    assert not stage.done
    assert not (folder / "manifest.json").exists()
    stage.finish(count=3, share=0.5)
    assert stage.done
    manifest = read_sealed(folder / "manifest.json")
    assert manifest is not None
    assert manifest == stage.manifest
    assert {k: manifest[k] for k in ("count", "share")} == {"count": 3, "share": 0.5}
    assert (manifest["inputs"]["model"], manifest["inputs"]["seed"]) == ("m", 0)
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "started.json"}


def test_the_same_inputs_do_nothing(tmp_path: Path) -> None:
    first = finished(tmp_path / "s", a=1, b=[2])
    before = {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (tmp_path / "s").iterdir()
    }
    again = started(tmp_path / "s", b=[2], a=1)
    assert again.done
    assert again.manifest == first.manifest
    assert {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (tmp_path / "s").iterdir()
    } == before


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": 1, "b": None}, {}])
def test_other_inputs_start_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    finished(tmp_path / "s", a=1)
    stage = started(tmp_path / "s", **other)
    assert not stage.done
    assert stage.manifest == {}
    assert not (tmp_path / "s" / "scores.npy").exists()
    assert not started(tmp_path / "s", a=1).done  # what the first inputs gave is gone


def test_another_stage_or_version_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path / "s", a=1)
    monkeypatch.setattr(module, "__version__", "another")
    assert not started(tmp_path / "s", a=1).done
    monkeypatch.undo()
    finished(tmp_path / "s", a=1)
    assert not Stage(tmp_path / "s", "samples", {"a": 1}).done


def test_an_interrupted_directory_keeps_what_is_there(tmp_path: Path) -> None:
    started(tmp_path / "s", a=1)
    (tmp_path / "s" / "checkpoint").mkdir()
    (tmp_path / "s" / "checkpoint" / "state.json").write_text("half")
    again = started(tmp_path / "s", a=1)
    assert not again.done
    assert (tmp_path / "s" / "checkpoint" / "state.json").read_text() == "half"
    started(tmp_path / "s", a=2)  # but not for other inputs
    assert not (tmp_path / "s" / "checkpoint").exists()


def test_a_broken_manifest_is_no_manifest(tmp_path: Path) -> None:
    finished(tmp_path / "s", a=1)
    path = tmp_path / "s" / "manifest.json"
    path.write_text(path.read_text()[:20])
    assert not started(tmp_path / "s", a=1).done


def test_numbers_json_does_not_have_become_null(tmp_path: Path) -> None:
    content = {
        "nan": math.nan,
        "list": [1.5, math.inf, (np.float64("nan"), -math.inf)],
        "deep": {"x": {"y": math.nan, "z": 2}},
        3: "a key that is a number",
    }
    write_json(tmp_path / "x.json", content)
    plain = json.loads(
        (tmp_path / "x.json").read_text(),
        parse_constant=lambda name: pytest.fail(f"{name} in JSON"),
    )
    nothing = None
    assert plain == {
        "nan": nothing,
        "list": [1.5, nothing, [nothing, nothing]],
        "deep": {"x": {"y": nothing, "z": 2}},
        "3": "a key that is a number",
    }


def test_numpy_numbers_are_numbers(tmp_path: Path) -> None:
    content = {
        "f": np.float32(0.5),
        "n": np.float32("nan"),
        "i": np.int64(3),
        "b": np.bool_(True),
        "a": np.array([1, 2]),
    }
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "f": 0.5,
        "n": None,
        "i": 3,
        "b": True,
        "a": [1, 2],
    }


class Unwritable:
    def __str__(self) -> str:
        raise RuntimeError("no text for this")


@pytest.mark.parametrize("failing", ["content", "writing", "renaming"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"old": True})

    def full(*_: Any) -> None:
        raise OSError("disk full")

    def refuse(*_: Any) -> None:
        raise OSError("stopped")

    if failing == "writing":
        monkeypatch.setattr(os, "fsync", full)
    if failing == "renaming":
        monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises((OSError, RuntimeError)):
        write_json(path, {"new": Unwritable() if failing == "content" else 1})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"old": True}
    write_json(path, {"new": 1})  # and what was left behind is in nobody's way
    assert json.loads(path.read_text()) == {"new": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.jsonl").write_text("{}")
    with pytest.raises(UserError, match="holds files that no run wrote"):
        Stage(tmp_path / "data", "prepare", {})
    assert (tmp_path / "data" / "mine.jsonl").exists()


# --- what is lost, and what is killed -------------------------------------------------------------------------------


def work(folder: Path, **inputs: Any) -> Stage:
    """A stage as they all are: a model's folder saved beside its place, files of its own, the
    manifest last."""
    stage = started(folder, **inputs)
    if not stage.done:
        with (folder / "metrics.jsonl").open("a") as metrics:
            metrics.write("{}\n")
        fresh = files.begin(folder / "model")
        for name in ("config.json", "model.safetensors", "README.md"):
            with (fresh / name).open("w") as file:
                file.write(f"{name} of {inputs}")
        files.replace(fresh, folder / "model")
        write_json(folder / "samples.json", inputs)
        stage.finish(count=3)
    return stage


def contents(folder: Path) -> dict[str, str]:
    """What later stages read."""
    names = ("model/config.json", "model/model.safetensors", "samples.json")
    return {name: (folder / name).read_text() for name in names}


EVERYTHING = (
    "manifest.json",
    "started.json",
    "model/config.json",
    "model/model.safetensors",
    "samples.json",
    "model",
)


@pytest.mark.parametrize("name", EVERYTHING)
def test_whatever_is_deleted_is_there_again_after_the_same_command(
    tmp_path: Path, name: str
) -> None:
    expected = (work(tmp_path / "s", a=1), contents(tmp_path / "s"))[1]
    path = tmp_path / "s" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert work(tmp_path / "s", a=1).done
    assert contents(tmp_path / "s") == expected
    assert started(tmp_path / "s", a=1).done


def test_a_file_cut_short_is_lost(tmp_path: Path) -> None:
    work(tmp_path / "s", a=1)
    expected = contents(tmp_path / "s")
    (tmp_path / "s" / "model" / "model.safetensors").write_text("mod")
    stage = work(tmp_path / "s", a=1)
    written = expected["model/model.safetensors"]
    assert stage.anew == f"model/model.safetensors has 3 bytes, and was written with {len(written)}"
    assert contents(tmp_path / "s") == expected


def test_files_for_people_may_be_changed_and_deleted(tmp_path: Path) -> None:
    work(tmp_path / "s", a=1)
    (tmp_path / "s" / "metrics.jsonl").unlink()
    (tmp_path / "s" / "model" / "README.md").write_text("Our best model.")
    assert started(tmp_path / "s", a=1).done


@pytest.mark.parametrize("name", ["manifest.json", "model/model.safetensors", "samples.json"])
def test_one_flipped_bit_is_found_and_the_stage_made_anew(tmp_path: Path, name: str) -> None:
    work(tmp_path / "s", a=1)
    expected = contents(tmp_path / "s")
    content = bytearray((tmp_path / "s" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "s" / name).write_bytes(content)
    stage = work(tmp_path / "s", a=1)
    assert stage.anew.startswith(name)
    assert contents(tmp_path / "s") == expected


def test_what_is_another_is_named(tmp_path: Path) -> None:
    config = {"lr": 0.1, "loss": {"beta": 1}, "steps": 3}
    other = {"lr": 0.1, "loss": {"beta": 2}, "steps": 3}
    finished(tmp_path / "done", config=config, data="a" * 32)
    stage = started(tmp_path / "done", config=other, data="b" * 32)
    said = "config.loss.beta 1, now 2, another data"
    assert stage.anew == f"its inputs are not those of the earlier run: {said}"
    started(tmp_path / "begun", config=config, data="a" * 32)
    (tmp_path / "begun" / "checkpoint").touch()
    stage = started(tmp_path / "begun", config=other, data="b" * 32)
    assert stage.anew == f"it was begun with other inputs: {said}"
    assert not (tmp_path / "begun" / "checkpoint").exists()
    assert started(tmp_path / "begun", config=other, data="b" * 32).anew == ""


def test_a_damaged_note_of_a_stage_that_was_begun_is_said(tmp_path: Path) -> None:
    started(tmp_path / "s", a=1)
    note = tmp_path / "s" / "started.json"
    note.write_text(note.read_text().replace('"a": 1', '"a": 2'))
    assert started(tmp_path / "s", a=1).anew == "started.json does not hold what was written to it"


@pytest.mark.parametrize("notes", [["manifest.json"], ["manifest.json", "started.json"]])
def test_a_note_nested_deeper_than_python_reads_is_a_damaged_one(
    tmp_path: Path, notes: list[str]
) -> None:
    work(tmp_path / "s", a=1)
    for name in notes:
        (tmp_path / "s" / name).write_text("[" * 200_000)
    stage = work(tmp_path / "s", a=1)
    assert stage.anew == "manifest.json is lost, or does not hold what was written to it"


def test_with_a_damaged_manifest_the_users_files_are_not_removed(tmp_path: Path) -> None:
    work(tmp_path / "s", a=1)
    (tmp_path / "s" / "notes.txt").write_text("mine")
    for name in ("manifest.json", "started.json"):
        note = tmp_path / "s" / name
        note.write_text(note.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(UserError, match=r"holds files that no run wrote \(notes.txt\)"):
        started(tmp_path / "s", a=1)
    assert (tmp_path / "s" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("note", ["manifest.json", "started.json"])
def test_a_note_that_is_damaged_in_a_name_makes_no_file_the_users(
    tmp_path: Path, note: str
) -> None:
    work(tmp_path / "s", a=1)
    path = tmp_path / "s" / note
    path.write_text(path.read_text().replace("samples.json", "samplez.json"))
    stage = work(tmp_path / "s", a=1)
    assert stage.done
    assert "samples.json" in stage.manifest["files"]
    assert work(tmp_path / "s", a=1).anew == ""


@pytest.mark.parametrize("lost", ["nothing", "manifest.json", "samples.json"])
@pytest.mark.parametrize("theirs", ["notes.txt", "model/notes.txt", "figures/1.svg", ".git/HEAD"])
def test_what_the_user_put_beside_a_stages_files_is_not_removed(
    tmp_path: Path, theirs: str, lost: str
) -> None:
    work(tmp_path / "s", a=1)
    (tmp_path / "s" / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / "s" / theirs).write_text("mine")
    inputs = {"a": 2} if lost == "nothing" else {"a": 1}
    (tmp_path / "s" / lost).unlink(missing_ok=True)
    with pytest.raises(
        UserError, match=rf"s: holds files that no run wrote \({theirs}\); choose another output"
    ):
        work(tmp_path / "s", **inputs)
    assert (tmp_path / "s" / theirs).read_text() == "mine"
    assert (tmp_path / "s" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize("notes", ["whole", "lost"])
@pytest.mark.parametrize("theirs", ["notes.txt", "checkpoint-i-kept/state.json", ".git/HEAD"])
def test_what_the_user_put_into_a_stage_that_was_begun_is_not_removed_either(
    tmp_path: Path, theirs: str, notes: str
) -> None:
    folder = tmp_path / "s"
    with_checkpoint(folder, a=1, ended=False)
    (folder / "metrics.jsonl").touch()
    mine = folder / theirs
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    if notes == "lost":
        (folder / "started.json").unlink()
    with pytest.raises(UserError, match=rf"holds files that no run wrote \({theirs}\)"):
        started(folder, a=2)
    assert mine.read_text() == "mine"
    mine.rename(tmp_path / "elsewhere")
    assert started(folder, a=2).anew
    assert not (folder / "checkpoint").exists()


def test_what_the_user_put_there_before_a_stage_was_finished_stays_the_users(
    tmp_path: Path,
) -> None:
    started(tmp_path / "s", a=1)
    (tmp_path / "s" / "notes.txt").write_text("mine")
    work(tmp_path / "s", a=1)
    with pytest.raises(UserError, match=r"holds files that no run wrote \(notes.txt\)"):
        started(tmp_path / "s", a=2)


def before_nothing(folder: Path) -> None:
    pass


def before_other(folder: Path) -> None:
    work(folder, a=2)


def before_interrupted(folder: Path) -> None:
    started(folder, a=2)
    (folder / "rewards.json").write_text("half")


def before_lost(folder: Path) -> None:
    work(folder, a=1)
    (folder / "model" / "model.safetensors").unlink()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("before", [before_nothing, before_other, before_interrupted, before_lost])
def test_a_stage_killed_anywhere_goes_on_to_the_same_result(
    tmp_path: Path, kill: Any, before: Any, backwards: bool
) -> None:
    work(tmp_path / "whole", a=1)
    expected = contents(tmp_path / "whole")
    for n in count(1):
        folder = tmp_path / str(n) / "s"
        before(folder)
        with kill(n, backwards) as killed:
            work(folder, a=1)
        assert work(folder, a=1).done
        assert contents(folder) == expected
        assert not (folder / "rewards.json").exists()
        assert [path.name for path in folder.parent.iterdir()] == ["s"]
        if not killed:
            break
    assert n > 12  # folders, files and renamings of the shortest of them


@pytest.mark.parametrize("backwards", [False, True])
def test_a_stage_killed_again_and_again_ends_with_the_same_result(
    tmp_path: Path, kill: Any, backwards: bool
) -> None:
    """The k-th attempt gets one change further than the one before, among what that has left."""
    work(tmp_path / "whole", a=1)
    before_other(tmp_path / "s")
    for n in count(1):
        with kill(n, backwards) as killed:
            work(tmp_path / "s", a=1)
        if not killed:
            break
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def with_checkpoint(folder: Path, *, ended: bool = True, **inputs: Any) -> Stage:
    """A stage of a training that has left a checkpoint: a whole one, and half of the next one."""
    stage = started(folder, **inputs)
    if not stage.done:
        fresh = files.begin(folder / "checkpoint")
        (fresh / "state.json").write_text("{}")
        files.replace(fresh, folder / "checkpoint", sealed=True)
        (files.begin(folder / "checkpoint") / "half").touch()
        if ended:
            stage.finish()
    return stage


@pytest.mark.parametrize("backwards", [False, True])
def test_a_checkpoint_goes_once_the_manifest_is_there_and_not_before(
    tmp_path: Path, kill: Any, backwards: bool
) -> None:
    kept = 0
    for n in count(1):
        folder = tmp_path / str(n) / "s"
        with kill(n, backwards) as killed:
            with_checkpoint(folder, a=1)
        was_whole = (folder / "checkpoint" / ".rewarddiff-sums.json").exists()
        if was_whole and not (folder / "manifest.json").exists():
            kept += 1
        with_checkpoint(folder, a=1)
        assert with_checkpoint(folder, a=1).done
        assert {path.name for path in folder.iterdir()} == {"manifest.json", "started.json"}
        if not killed:
            break
    assert kept >= 2  # as the manifest is written, and as it gets its name


def test_a_checkpoint_that_a_kill_has_left_in_a_finished_stage_is_nobody_elses(
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rewarddiff.pipeline.stage.discard_checkpoint", lambda _: None)
        with_checkpoint(tmp_path / "s", a=1)
    assert "its inputs are not" in with_checkpoint(tmp_path / "s", a=2).anew


def test_a_kill_between_the_two_notes_of_a_finished_stage_is_mended(tmp_path: Path) -> None:
    """Its folder still refuses to be removed with a file that no stage wrote, manifest lost or not."""
    folder = tmp_path / "s"
    stage = started(folder, a=1)
    begun = (folder / "started.json").read_text()
    (folder / "scores.npy").write_text("42")
    stage.finish()
    (folder / "started.json").write_text(begun)  # as if killed before the second note
    assert started(folder, a=1).done
    (folder / "manifest.json").unlink()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files that no run wrote"):
        started(folder, a=2)
    assert (folder / "mine.txt").read_text() == "mine"
