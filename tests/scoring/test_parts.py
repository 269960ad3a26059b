"""Windows beside an output: kept, gone on with, and thrown away where they are of something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.errors import UserError
from rewarddiff.scoring.parts import Parts, parts_of

MADE = {"scorer": "s", "data": "d"}


class Stopped(Exception):
    pass


@contextmanager
def stopped(output: Path) -> Iterator[Parts]:
    """Make parts of an output, and fail in the end."""
    with suppress(Stopped), parts_of(output, MADE, ".jsonl") as parts:
        yield parts
        raise Stopped


def test_windows_stay_until_the_output_is_complete(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with stopped(output) as parts:
        parts.write(1, [{"a": 2}], {"rows": 1}, d=np.array([0.5]))
        parts.write(0, [{"a": 0}, {"a": 1}], {"rows": 2})
    with parts_of(output, MADE, ".jsonl") as parts:
        assert parts.done() == [0, 1]
        assert list(parts.windows()) == [[{"a": 0}, {"a": 1}], [{"a": 2}]]
        assert [account["rows"] for account in parts.accounts()] == [2, 1]
        assert parts.array(1, "d").tolist() == [0.5]
    assert list(tmp_path.iterdir()) == []


def test_a_window_without_its_account_is_not_done(tmp_path: Path) -> None:
    with parts_of(tmp_path / "out", MADE, ".jsonl") as parts:
        parts.write(0, [{"a": 0}], {})
        (parts.folder / "window-00000001.jsonl").write_text('{"a"')
        assert parts.done() == [0]


def test_what_fails_at_once_leaves_nothing(tmp_path: Path) -> None:
    with stopped(tmp_path / "out.jsonl"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_inputs_start_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.jsonl"
    with stopped(output) as parts:
        parts.write(0, [{"a": 0}], {})
    with parts_of(output, MADE | {"scorer": "t"}, ".jsonl") as parts:
        assert parts.done() == []
    message = f"{output}.parts: made with another scorer; starting over\n"
    assert capsys.readouterr().err == message


def test_one_at_a_time(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with (
        parts_of(output, MADE, ".jsonl"),
        pytest.raises(UserError, match="another run is writing"),
        parts_of(output, MADE, ".jsonl"),
    ):
        pass


def test_windows_are_not_written_through_a_link(tmp_path: Path) -> None:
    """Nobody has named the folder beside an output, so nobody has meant the link."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "out.jsonl.parts").symlink_to("mine")
    with (
        pytest.raises(UserError, match=r"out\.jsonl\.parts: a link, and would be written through"),
        parts_of(tmp_path / "out.jsonl", MADE, ".jsonl"),
    ):
        pytest.fail("it was entered")
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["window-of-opportunity.txt", "answers.sqlite.backup", "window-of-time.json", "thesis.tex"],
)
def test_a_folder_with_files_of_others_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    file = tmp_path / "out.jsonl.parts" / name
    file.parent.mkdir()
    file.write_text("mine")
    with (
        pytest.raises(UserError, match=rf"holds files that no run wrote \({name}\)"),
        parts_of(tmp_path / "out.jsonl", MADE, ".jsonl"),
    ):
        pytest.fail("it was entered")
    assert list(file.parent.iterdir()) == [file]
    assert file.read_text() == "mine"


def test_what_a_kill_may_leave_is_known(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with stopped(output) as parts:
        parts.write(0, [{"a": 0}], {}, d=np.array([0.5]))
        for name in (".rewarddiff-new-window-00000001.jsonl", ".rewarddiff-new-window-00000001.d.npy",
                     ".rewarddiff-new-made-from.json", "answers.sqlite", "answers.sqlite-journal"):  # fmt: skip
            (parts.folder / name).write_bytes(b"")
    with parts_of(output, MADE, ".jsonl") as parts:
        assert parts.done() == [0]
    assert list(tmp_path.iterdir()) == []
