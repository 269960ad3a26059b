"""A kill leaves what was there before, or what comes after."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rewarddiff import files, sums
from rewarddiff.loop import checkpoint
from rewarddiff.outputs import run_folder_for
from rewarddiff.pipeline.stage import Stage
from rewarddiff.sums import SUMS, of_file

ORDERS = pytest.mark.parametrize("backwards", [False, True])


def fill(folder: Path, content: str) -> None:
    """A folder with folders, whose content is all old or all new."""
    for name in ("a/first", "manifest", "z/last"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def contents(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("a/first", "manifest", "z/last")]


def save(folder: Path) -> None:
    fresh = files.begin(folder)
    fill(fresh, "new")
    files.replace(fresh, folder)


def kills_of(kill: Any, backwards: bool, work: Callable[[], None]) -> Iterator[int]:
    """Run `work` killed at its first change, then at its second …, until it comes to its end."""
    for n in count(1):
        with kill(n, backwards) as killed:
            work()
        if not killed:
            return
        yield n


@ORDERS
def test_a_killed_replacement_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, kill: Any, backwards: bool
) -> None:
    folder = tmp_path / "model"
    fill(folder, "old")
    seen = []
    for _ in kills_of(kill, backwards, lambda: save(folder)):
        files.recover(folder)
        seen += contents(folder)
        files.remove(folder)
        fill(folder, "old")
    assert set(seen) == {"old", "new"}
    assert contents(folder) == ["new"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@ORDERS
def test_replacements_killed_one_after_the_other_never_leave_nothing(
    tmp_path: Path, kill: Any, backwards: bool
) -> None:
    """Each begins among what all the earlier ones left."""
    folder = tmp_path / "model"
    fill(folder, "old")
    for _ in kills_of(kill, backwards, lambda: save(folder)):
        files.recover(folder)
        assert contents(folder) in (["old"] * 3, ["new"] * 3)
    assert contents(folder) == ["new"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@ORDERS
def test_a_killed_removal_leaves_the_whole_folder_or_none(
    tmp_path: Path, kill: Any, backwards: bool
) -> None:
    folder, kept = tmp_path / "stage", 0
    for begins in ("", files.FRESH, files.EARLIER):
        fill(folder.with_name(f"{begins}stage"), "old")
    for _ in kills_of(kill, backwards, lambda: files.remove(folder)):
        assert not folder.exists() or contents(folder) == ["old"] * 3
        kept += folder.exists()
        fill(folder, "old")
    assert kept
    assert not list(tmp_path.iterdir())


def test_what_a_killed_removal_left_is_swept_up(tmp_path: Path, kill: Any) -> None:
    fill(tmp_path / "stage", "old")
    (tmp_path / "beside").mkdir()
    with kill(2):  # the renaming is done, the first deletion is not
        files.remove(tmp_path / "stage")
    assert len(list(tmp_path.iterdir())) == 2
    files.sweep_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["beside"]
    files.sweep_up(tmp_path / "nowhere")


def test_what_a_link_leads_to_is_not_removed(tmp_path: Path) -> None:
    fill(tmp_path / "theirs", "old")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    files.remove(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "theirs") == ["old"] * 3


def test_a_failed_write_leaves_the_old_text_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_text(tmp_path / "deep" / "x", "grün")
    assert (tmp_path / "deep" / "x").read_bytes() == b"gr\xc3\xbcn"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("stopped")))
    with pytest.raises(OSError, match="stopped"):
        files.write_text(tmp_path / "deep" / "x", "blue")
    assert [(p.name, p.read_text()) for p in (tmp_path / "deep").iterdir()] == [("x", "grün")]


def test_folders_of_the_users_own_that_are_named_alike_stay(tmp_path: Path) -> None:
    """A person's copies `model.old` and `model.new` are nobody's leftovers."""
    for name in ("model", "model.old", "model.new"):
        fill(tmp_path / name, name)
    save(tmp_path / "model")
    files.remove(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.new", "model.old"]
    assert contents(tmp_path / "model.old") == ["model.old"] * 3


# --- on the disk before it has its name ---------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the system, in order: a file or folder that is synced, or a new name."""
    seen: list[str] = []
    rename, replace = Path.rename, os.replace

    def synced(descriptor: int) -> None:
        seen.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")

    def renamed(self: Path, target: Path) -> Path:
        seen.append(f"name {Path(target).name}")
        return rename(self, target)

    def replaced(source: Path, target: Path) -> None:
        seen.append(f"name {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(os, "replace", replaced)
    return seen


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a file's name by /proc")
def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, calls: list[str]
) -> None:
    files.write_text(tmp_path / "a.json", "{}")
    assert calls == [f"sync {files.FRESH}a.json", "name a.json", f"sync {tmp_path.name}"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a file's name by /proc")
def test_a_folder_is_on_the_disk_with_all_that_is_in_it_before_it_has_its_name(
    tmp_path: Path, calls: list[str]
) -> None:
    fresh = files.begin(tmp_path / "model")
    (fresh / "inner").mkdir()
    (fresh / "inner" / "weights").write_text("w")
    files.replace(fresh, tmp_path / "model", sealed=True)
    place = calls.index("name model")
    assert set(calls[:place]) == {
        "sync weights",
        "sync inner",
        f"sync {SUMS}",
        f"sync {files.FRESH}model",
    }
    assert calls[place + 1] == f"sync {tmp_path.name}"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a file's name by /proc")
@pytest.mark.parametrize(
    "make",
    [
        lambda place: files.write_text(place, "x"),
        files.begin,
        lambda place: Stage(place, "scores", {}),
        lambda place: run_folder_for(place).__enter__(),
    ],
)
def test_the_names_of_new_folders_are_on_the_disk(
    tmp_path: Path, calls: list[str], make: Callable[[Path], Any]
) -> None:
    place = tmp_path / "run" / "policies" / "ours"
    make(place)
    assert {f"sync {tmp_path.name}", "sync run"} <= set(calls)
    calls.clear()
    files.make_folder(place.parent)
    assert calls == []  # nothing is new


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a file's name by /proc")
def test_the_second_name_of_a_file_is_on_the_disk(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "first").write_text("x")
    files.link(tmp_path / "first", tmp_path / "second")
    assert calls == [f"sync {tmp_path.name}"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a file's name by /proc")
def test_all_that_a_stage_holds_is_on_the_disk_before_its_manifest_says_that_it_is_complete(
    tmp_path: Path, calls: list[str]
) -> None:
    stage = Stage(tmp_path / "stage", "policy", {"seed": 0})
    (stage.folder / "inner").mkdir()
    for name in ("weights", "inner/rows"):  # as libraries write, which sync nothing
        (stage.folder / name).write_text(name)
    calls.clear()
    stage.finish()
    before = calls[: calls.index("name manifest.json")]
    assert {"sync weights", "sync rows", "sync inner", "sync stage"} <= set(before)
    assert f"sync {files.FRESH}manifest.json" in before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a file's name by /proc")
def test_all_of_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_last_one(
    tmp_path: Path, calls: list[str]
) -> None:
    module = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(module.parameters())
    for step in range(2):
        calls.clear()
        checkpoint.save(tmp_path / "checkpoint", module, optimizer, {"step": step})
        written = {path.name for path in (tmp_path / "checkpoint").rglob("*")}
        assert {SUMS, "state.json"} < written
        place = min(calls.index(name) for name in calls if name.startswith("name"))
        assert {f"sync {name}" for name in written} <= set(calls[:place])
        assert calls[place:].count("name checkpoint") == 1


def test_a_folder_that_finds_no_room_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fresh = files.begin(tmp_path / "model")
    (fresh / "weights").write_text("w")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(fresh, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["/dev/zero", "../mine", "a/../../mine", "fifo", "folder"])
def test_a_manifest_cannot_have_files_read_that_are_not_the_folders_own(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "run"
    (folder / "folder").mkdir(parents=True)
    (folder / "a").mkdir()
    (tmp_path / "mine").write_text("mine")
    os.mkfifo(folder / "fifo")
    assert sums.fault(folder, {name: of_file(tmp_path / "mine")}) == f"{name} is lost"
