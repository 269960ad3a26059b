"""What fault scripts compare, and how they end: whatever is another has to be seen, and to give status 1."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import compare
import pytest
from tally import Tally


def results(win_rate: float, seconds: float) -> dict[str, Any]:
    """Return results of a run that took so long, and whose output is named after it."""
    return {
        "win_rate": win_rate,
        "recipe": {"name": "tiny", "output": f"runs/{seconds}"},
        "costs": [{"stage": "policies/dpo-0", "seconds": seconds, "steps": 2}],
        "judges": {"uses": []},
        "sha256": f"{seconds}",
    }


def write_run(run: Path, seconds: float) -> Path:
    """Write what a run leaves, which took so long."""
    (run / "model").mkdir(parents=True)
    (run / "model" / "weights.npy").write_bytes(b"\x01\x02")
    (run / "results.json").write_text(json.dumps(results(0.5, seconds)))
    (run / "metrics.jsonl").write_text(json.dumps({"loss": 0.25, "seconds": seconds}) + "\n")
    with closing(sqlite3.connect(run / "store.sqlite")) as store, store:
        store.execute("CREATE TABLE kept (key TEXT, value TEXT)")
        store.execute("INSERT INTO kept VALUES ('k', '[1.5]')")
    return run


def set_value(run: Path) -> None:
    with closing(sqlite3.connect(run / "store.sqlite")) as store, store:
        store.execute("UPDATE kept SET value = '[2.5]'")


CHANGES: dict[str, Callable[[Path], Any]] = {
    "weights": lambda run: (run / "model" / "weights.npy").write_bytes(b"\x01\x03"),
    "weights that are gone": lambda run: (run / "model" / "weights.npy").unlink(),
    "a file left over": lambda run: (run / ".rewarddiff-new-model").write_text(""),
    "a folder left over": lambda run: (run / "checkpoint").mkdir(),
    "a figure": lambda run: (run / "results.json").write_text(json.dumps(results(0.6, 1.0))),
    "a loss": lambda run: (run / "metrics.jsonl").write_text('{"loss": 0.26, "seconds": 1.0}\n'),
    "a value of the store": set_value,
}


def test_the_moment_is_not_compared(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one", 1.0), write_run(tmp_path / "other", 2.0)
    assert compare.fault(compare.everything(one), compare.everything(other)) == ""
    assert compare.fault(compare.results(one), compare.results(other)) == ""


@pytest.mark.parametrize("name", CHANGES)
def test_all_else_is_compared(name: str, tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one", 1.0), write_run(tmp_path / "other", 1.0)
    CHANGES[name](other)
    fault = compare.fault(compare.everything(one), compare.everything(other))
    assert fault.startswith("other results: [")
    is_of_numbers = name.startswith("weights")
    numbers = compare.changed(compare.numbers(one), compare.numbers(other))
    assert numbers == (["model/weights.npy"] if is_of_numbers else [])


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["equal", "equal"], 0),
        (["equal", "other results: [1]"], 1),
        (["equal to nothing"], 1),
        ([], 1),
    ],
    ids=["all good", "one wrong", "another word", "nothing tried"],
)
def test_the_status_says_whether_all_were_good(
    verdicts: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally(["equal"])
    for verdict in verdicts:
        tally.add("a case", verdict)
    with pytest.raises(SystemExit) as ended:
        tally.end()
    assert int(ended.value.code or 0) == status
    assert ("wrong: a case" in capsys.readouterr().out) == (status == 1 and bool(verdicts))
