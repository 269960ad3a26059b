"""Plain lines off a terminal, with time left; a bar on one."""

from __future__ import annotations

import sys

import pytest

import rewarddiff.progress as module
from rewarddiff.progress import task


class Clock:
    """Stands where `time` does, and moves only when told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_plain_lines_with_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with task("reading", 100) as progress:
        clock.now += 30
        progress.advance(25, "loss 0.5")  # 25 of 100 in 30 s: 75 more in 90 s
        clock.now += 4
        progress.advance(5)  # within ten seconds of the last line: silent
        clock.now += 11
        progress.advance(60)  # 90 of 100 in 45 s: 10 more in 5 s
        clock.now += 30
        progress.advance(10)  # the end has its own line
    out, err = capsys.readouterr()
    assert out == ""  # results go there
    assert err.splitlines() == [
        "  reading:  25%, 1:30 left, loss 0.5",
        "  reading:  90%, 5 s left",
        "  reading: done in 1:15",
    ]


def test_a_short_part_of_other_work_says_nothing_of_its_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for seconds in (4, 40):
        with task("rollout", 2, inner=True) as progress:
            clock.now += seconds / 2
            progress.advance(1)
            clock.now += seconds / 2
            progress.advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "  rollout:  50%, 20 s left",
        "  rollout: done in 40 s",
    ]


def test_time_left_after_an_interruption_is_that_of_this_run(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with task("reading", 100, before=60) as progress:
        clock.now += 20
        progress.advance(0)  # nothing done by this run
        clock.now += 20
        progress.advance(20)  # 20 of the 40 that were left in 40 s: 20 more in 40 s
        clock.now += 40
        progress.advance(20)
    assert capsys.readouterr().err.splitlines() == [
        "  reading:  60%, ? left",
        "  reading:  80%, 40 s left",
        "  reading: done in 1:20",
    ]


def test_time_left_is_unknown_before_anything_is_done(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with task("waiting", 4) as progress:
        clock.now += 60
        progress.advance(0)
    assert capsys.readouterr().err.splitlines() == [
        "  waiting:   0%, ? left",
        "  waiting: done in 1:00",
    ]


def test_a_name_does_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with task("\x1b[2Jx\u202e", 0):
        pass
    assert capsys.readouterr().err == "  \\x1b[2Jx\\u202e: done in 0 s\n"


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with task("nothing", 0) as progress:
        progress.advance(0)
    assert capsys.readouterr().err == "  nothing: done in 0 s\n"


def test_what_was_stopped_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        with task("stopped", 3) as progress:
            progress.advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert "done" not in capsys.readouterr().err


@pytest.mark.parametrize("fails", [False, True])
def test_a_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    hidden, shown = "\x1b[?25l", "\x1b[?25h"  # what a terminal is told of its cursor
    try:
        with task("drawing [/] [red]\x1b]0;t\x07", 8) as progress:
            progress.advance(2, "loss 0.25")
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    drawn = capsys.readouterr().err
    assert r"drawing [/] [red]\x1b]0;t" in drawn  # as it is: no markup, no word to the terminal
    assert ("25%" in drawn and "loss 0.25" in drawn) or not fails  # where it was stopped
    assert ("100%" in drawn) != fails
    assert drawn.rfind(shown) > drawn.rfind(hidden) >= 0  # given back however it ended
