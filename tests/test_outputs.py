"""Where a command writes: tried before the work, held by one process, named when it fails."""

from __future__ import annotations

import errno
import os
import platform
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from rewarddiff import files, outputs, room
from rewarddiff.errors import UserError
from rewarddiff.outputs import (
    LOCK,
    file_for,
    folder_for,
    held_file_for,
    require_unheld,
    run_folder_for,
    store_beside,
    windows_of,
)
from rewarddiff.room import NoRoom, room_for
from rewarddiff.store import Store


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow: the kernel refuses every byte, as on a full disk (with another number)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# --- tried first ----------------------------------------------------------------------------------------------------


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "new" / "deep"):
        with folder_for(place), file_for(place / "x.jsonl"):
            assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", [folder_for, file_for, run_folder_for])
def test_a_file_in_the_way_is_found_before_the_work(tmp_path: Path, where: Any) -> None:
    (tmp_path / "file").write_text("mine")
    message = r"file.*: cannot be written \(a file is in the way\); choose another output"
    with pytest.raises(UserError, match=message), where(tmp_path / "file" / "deep" / "x"):
        pytest.fail("the work was begun")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_found_before_the_work(tmp_path: Path) -> None:
    message = r"new: cannot be written \(File too large\)"
    with full_disk(), pytest.raises(UserError, match=message), folder_for(tmp_path / "new"):
        pytest.fail("the work was begun")
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder_no_device_and_nothing_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("{}")
    (tmp_path / "link.jsonl").symlink_to(data)
    with pytest.raises(UserError, match="a folder; give the name of a file"), file_for(tmp_path):
        pass
    with pytest.raises(UserError, match=r"/dev/null: no ordinary file"), file_for(Path(os.devnull)):
        pass
    for path in (data, tmp_path / "link.jsonl"):
        with (
            pytest.raises(UserError, match="the output would replace what is read"),
            file_for(path, [data]),
        ):
            pass
    assert capsys.readouterr().out == ""
    with file_for(data, [tmp_path / "other.jsonl"]):
        assert capsys.readouterr().out == f"{data}: is there already, and will be replaced\n"


# --- what fails during the work -------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["python", "numpy", "safetensors"])
def test_a_disk_that_fills_up_during_the_work_is_one_line(tmp_path: Path, library: str) -> None:
    """Each library has its own words for it."""
    values = np.zeros(1000)
    write = {
        "python": lambda: files.write_text(tmp_path / "x", "text" * 1000),
        "numpy": lambda: np.save(tmp_path / "x.npy", values),
        "safetensors": lambda: save_file({"x": values}, tmp_path / "x.safetensors"),
    }[library]
    with pytest.raises(UserError) as caught, folder_for(tmp_path), full_disk():
        write()
    assert str(caught.value).startswith(f"{tmp_path}: cannot be written (")
    assert str(caught.value).endswith("; choose another output")


def test_a_full_disk_asks_for_space(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught, folder_for(tmp_path):
        raise OSError(errno.ENOSPC, "whatever")
    assert re.fullmatch(
        rf"{tmp_path}: cannot be written \(No space left on device: [\d,]+ bytes free\); "
        "free some space, or choose another output",
        str(caught.value),
    )


def test_a_full_disk_names_the_file_and_the_bytes(tmp_path: Path) -> None:
    """Whatever a library calls it: with the system's number, with Rust's words, or with neither."""
    file = tmp_path / "weights"
    for error in (
        OSError(errno.ENOSPC, "whatever"),
        SafetensorError("Error while serializing: No space left on device (os error 28)"),
        OSError(errno.EDQUOT, "the user's share"),
    ):
        with pytest.raises(UserError) as caught, folder_for(tmp_path), room_for(file, 123_456):
            raise error
        assert str(caught.value).startswith(
            f"{file}: cannot be written (No space left on device: 123,456 bytes to write, "
        )


def test_an_error_without_a_number_is_one_of_a_full_disk_where_nothing_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OSError("7 requested and 0 written")  # numpy's
    with pytest.raises(OSError, match="7 requested"), room_for(tmp_path / "x.npy", 56):
        raise error
    monkeypatch.setattr(room, "free", lambda place: 4096)
    full = pytest.raises(NoRoom, match=r"x\.npy: .*56 bytes to write, 4,096 free")
    with full, room_for(tmp_path / "x.npy", 56):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "denied", "/elsewhere/data.jsonl"),
        OSError(errno.EIO, "broken", "/elsewhere/data.jsonl"),
        OSError(errno.EACCES, "denied", "out-data/x.jsonl"),
        OSError(errno.EIO, "broken", "out.jsonl"),
        ConnectionResetError(errno.ECONNRESET, "the hub is gone"),
        ValueError("a mistake of ours"),
    ],
)
def test_other_errors_pass(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(type(error)) as caught, folder_for(Path("out")):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "name", ["out/x.json", "./out", f"{files.FRESH}out", f"{files.FRESH}out/x", None]
)
def test_a_broken_disk_is_the_outputs_where_it_is_written(
    tmp_path: Path, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = rf"^{name or 'out'}: cannot be written \(Input/output error\); choose another output$"
    with pytest.raises(UserError, match=message), folder_for(Path("out")):
        raise OSError(errno.EIO, "broken", name)


def test_a_store_that_cannot_be_written_or_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "store.sqlite").write_text("not a database, whatever its name says" * 10)
    with pytest.raises(
        UserError, match=r"store.sqlite: is broken \(file is not a database\); delete it"
    ):
        Store(tmp_path / "store.sqlite").put({"a": 1})
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        UserError, match=r"folder: cannot be written \(unable to open database file\)"
    ):
        Store(tmp_path / "folder")
    with Store(tmp_path / "good.sqlite") as store:
        with full_disk(), pytest.raises(UserError, match=r"good.sqlite: cannot be written"):
            store.put({"a": "long" * 10_000})
        store.put({"b": 2})
        assert store.get(["a", "b"]) == {"b": 2}


# --- one process at a time ------------------------------------------------------------------------------------------


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with run_folder_for(tmp_path / "run"):
        with pytest.raises(UserError) as caught, run_folder_for(tmp_path / "run"):
            pytest.fail("two at once")
        with run_folder_for(tmp_path / "other"):
            pass
    message = str(caught.value)
    assert message.startswith(
        f"another run is writing in {tmp_path}/run "
        f"(process {os.getpid()} on {platform.node()} since 2"
    )
    assert message.endswith("); wait until it ends, or choose another output")
    with run_folder_for(tmp_path / "run"):
        pass


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from rewarddiff.outputs import run_folder_for\n"
        "with run_folder_for(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=rf"\(process {other.pid} on .* since "),
            run_folder_for(tmp_path),
        ):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with run_folder_for(tmp_path):
        pass


def test_a_file_is_made_by_one_command_at_a_time(tmp_path: Path) -> None:
    """The lock lies beside it and goes with the command; another file there has its own."""
    output = tmp_path / "lists.jsonl"
    with held_file_for(output):
        with pytest.raises(UserError) as caught, held_file_for(output):
            pytest.fail("two at once")
        with held_file_for(tmp_path / "others.jsonl"):
            pass
        output.write_text("mine")
    assert str(caught.value).startswith(
        f"another run is writing to {output} (process {os.getpid()} on {platform.node()} since 2"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lists.jsonl"]


def test_a_lock_that_its_holder_has_removed_holds_nothing(tmp_path: Path) -> None:
    """A command that opened the file just before it went has to take the one that lies there now."""
    output = tmp_path / "lists.jsonl"
    place = tmp_path / f"{LOCK}-lists.jsonl"
    opened = Path.open
    attempts = []

    def removed_meanwhile(path: Path, *mode: str) -> Any:
        file = opened(path, *mode)
        if path == place:
            attempts.append(path)
            if len(attempts) == 1:
                path.unlink()
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", removed_meanwhile)
        with held_file_for(output):
            assert len(attempts) == 2
            assert place.exists()
    assert not place.exists()


def test_a_killed_command_leaves_a_lock_that_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / f"{LOCK}-lists.jsonl").write_text("process 1 since ever")
    with held_file_for(tmp_path / "lists.jsonl"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_look_finds_whoever_writes_an_output_and_holds_nobody_up(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    require_unheld(output)  # nothing is there yet
    holders = (
        run_folder_for(output),
        run_folder_for(output / "run"),
        run_folder_for(windows_of(output)),
        run_folder_for(windows_of(tmp_path / "out")),
        held_file_for(tmp_path / "other" / "out.jsonl"),
    )
    for holder in holders[:-1]:
        with holder:
            with pytest.raises(UserError, match=rf"another run .*\(process {os.getpid()} on "):
                require_unheld(output)
            require_unheld(tmp_path / "another.jsonl")
        require_unheld(output)  # the lock's file is left, and held by nobody
    with holders[-1], pytest.raises(UserError, match="another run is writing to"):
        require_unheld(tmp_path / "other" / "out.jsonl")


def test_who_looks_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """A look takes a shared lock for some microseconds: the run that begins meanwhile is not refused."""
    import fcntl
    import threading

    with run_folder_for(tmp_path):
        pass
    looking = (tmp_path / LOCK).open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.05, looking.close).start()
    with run_folder_for(tmp_path):
        pass


def test_a_second_command_is_refused_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}')
    (tmp_path / "recipe.yaml").write_text("name: x\ndata: {path: rows.jsonl}\n")
    program = (
        "import sys; from rewarddiff.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    refused = {
        "runs/x": ["run", "recipe.yaml"],
        "runs/x-sweep": ["sweep", "recipe.yaml", "seed=1,2"],
        "runs/eval-rows": ["eval", "length", "rows.jsonl"],
        "o.jsonl": ["score", "length", "rows.jsonl", "--output", "o.jsonl"],
    }
    held = [tmp_path / output for output in refused if output != "o.jsonl"]
    with ExitStack() as stack:
        for folder in (*held, windows_of(tmp_path / "o.jsonl")):
            stack.enter_context(run_folder_for(folder))
        for output, arguments in refused.items():
            second = subprocess.run(
                [sys.executable, "-c", program, *arguments],
                cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert second.returncode == 2, second.stderr
            assert f" {output} (process {os.getpid()} on " in second.stderr


def test_a_file_system_without_locks_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of NFS without its lock service: nobody is kept out there, and nobody is to rely on it."""

    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", without_locks)
    outputs._say_without_locks.cache_clear()
    with run_folder_for(tmp_path / "run"), run_folder_for(tmp_path / "other"):
        pass
    with held_file_for(tmp_path / "o.jsonl"):
        pass
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "no locks (No locks available): a second command with the same output" in line


# --- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [LOCK, "store.sqlite", "policies", "policies/dpo-0", "data/manifest.json"]
)
def test_a_link_that_leads_out_of_a_run_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    with (
        pytest.raises(UserError, match=r"a link that leads out of"),
        run_folder_for(tmp_path / "run"),
    ):
        raise AssertionError("it was entered")
    assert mine.read_text() == "mine"


def test_links_within_a_run_and_of_its_owner_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk" / "policies" / "p").mkdir(parents=True)
    (tmp_path / "disk" / "policies" / "last").symlink_to("p")
    (tmp_path / "disk" / "notes").symlink_to("/")
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    with run_folder_for(tmp_path / "run"):
        pass


def test_a_lock_beside_a_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / f"{LOCK}-out.jsonl").symlink_to(mine)
    with pytest.raises(UserError, match="a link, and would"), held_file_for(tmp_path / "out.jsonl"):
        raise AssertionError("it was entered")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["out.jsonl.store.sqlite", "out.jsonl.store.sqlite-wal", "out.jsonl.store.sqlite.1"]
)
def test_nor_is_a_store_beside_a_file(tmp_path: Path, name: str) -> None:
    """SQLite would make its file where the link leads; of further processes it takes the values over."""
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link, and would"), held_file_for(tmp_path / "out.jsonl"):
        raise AssertionError("it was entered")
    assert [place.name for place in tmp_path.iterdir()] == [name]


def test_links_beside_other_files_are_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl.store.sqlite").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "notes").symlink_to("/")
    with held_file_for(tmp_path / "out.jsonl"):
        assert store_beside(tmp_path / "out.jsonl") == tmp_path / "out.jsonl.store.sqlite"
