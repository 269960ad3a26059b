"""`rewarddiff annotate`: what it reads, what it says, what it refuses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rewarddiff import cli
from rewarddiff.annotate.config import AnnotateConfig
from rewarddiff.annotate.records import Pair
from rewarddiff.annotate.samples import pairs_of
from rewarddiff.annotate.server import _names
from rewarddiff.data import Ledger
from rewarddiff.errors import UserError


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs_in(tmp_path: Path, row: dict[str, Any]) -> list[Pair]:
    return pairs_of([written(tmp_path / "d.jsonl", [row])], Ledger())


def test_a_labelled_pair_is_one_pair(tmp_path: Path) -> None:
    [pair] = pairs_in(tmp_path, {"prompt": "p", "chosen": "x", "rejected": "y"})
    assert (pair.prompt, pair.a, pair.b) == ("p", "x", "y")
    assert (pair.source["a"], pair.source["b"]) == ("chosen", "rejected")
    assert pair.source["row"].endswith("d.jsonl:1")


def test_of_a_scored_list_the_first_two_are_compared(tmp_path: Path) -> None:
    row = {"prompt": "p", "responses": ["x", "y", "z"], "scores": [1.0, 3.0, 2.0]}
    [pair] = pairs_in(tmp_path, row)
    assert (pair.a, pair.b) == ("x", "y")


def test_no_more_pairs_than_the_limit(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{k}", "chosen": "x", "rejected": "y"} for k in range(5)]
    source = written(tmp_path / "d.jsonl", rows)
    pairs = pairs_of([source], Ledger(), limit=2)
    assert [pair.prompt for pair in pairs] == ["p0", "p1"]


def test_single_responses_are_no_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "x", "label": True}]
    with pytest.raises(UserError, match="no two different responses to a prompt"):
        pairs_in(tmp_path, rows[0])


# --- the command ----------------------------------------------------------------------------------


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command is refused with."""
    try:
        status = cli.main(["annotate", *arguments])
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    assert status == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "name the data whose responses are compared"),
        (["--output", "OUT"], "OUT: holds no annotations.sqlite; name the data"),
        (["nowhere.jsonl", "--output", "OUT"], "nowhere.jsonl"),
        (["demo", "--output", "OUT", "guidelines=none.md"], "none.md: cannot be read (No such"),
        (["demo", "--output", "OUT", "--host", "0.0.0.0"], "say by which names"),
        (["demo", "--output", "OUT", "--scale", "6"], "there is no '6' – known here: 5, 7"),
        (["demo", "--output", "OUT", "--annotators", "0"], "at least 1"),
        (["demo", "--output", "OUT", "limits=3"], "did you mean 'limit'?"),
        (["demo", "--output", "OUT", "limit=0"], "at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert line in refused(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["demo", "--output", str(tmp_path / "out"), "--port", port, "limit=2"]
        assert "choose another --port" in refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


def started(*arguments: str) -> tuple[subprocess.Popen[str], list[str]]:
    """A page that is served, and what it said of itself."""
    command = [sys.executable, "-m", "rewarddiff", "annotate", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(60, process.kill)
    timer.start()
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("a link is a key"):
            break
    timer.cancel()
    return process, lines


def test_links_are_told_and_a_signal_ends_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "people")
    process, lines = started("demo", "--output", folder, "--annotators", "2", "limit=5", "seed=1")
    try:
        assert lines[0].startswith("5 pairs, 7 steps")
        links = [line.split()[1] for line in lines[1:3]]
        assert [line.split()[0] for line in lines[1:3]] == ["annotator-1", "annotator-2"]
        assert lines[1].endswith("  0 of 5")
        for link in links:
            answer = httpx2.get(link, follow_redirects=False)
            assert answer.status_code == 303
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said == f"stopped: every vote is in {folder}/annotations.sqlite\n"
    # No leftover of SQLite's: the file is whole by itself.
    assert {path.name for path in Path(folder).iterdir()} == {
        "annotations.sqlite",
        "tokens.json",
        ".rewarddiff-lock",
    }

    # Gone on with, without data; the links are the same but for the port.
    process, lines = started("--output", folder)
    try:
        process.send_signal(signal.SIGINT)  # at once: also before the server itself heeds signals
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert len(lines) == 4  # as many annotators as before
    assert [line.split()[1].split("/enter/")[1] for line in lines[1:3]] == [
        link.split("/enter/")[1] for link in links
    ]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "options", "first", "others"),
    [
        ("127.0.0.1", {}, "127.0.0.1:P", {"localhost:P", "[::1]:P"}),
        ("127.0.0.1", {"names": ("Ann.example",)}, "ann.example:P", {"ann.example", "localhost:P"}),
        (
            "127.0.0.1",
            {"names": ("ann.example",), "https": True},
            "ann.example",
            {"ann.example:P", "127.0.0.1:P"},
        ),
        ("0.0.0.0", {"names": ("10.0.0.7",)}, "10.0.0.7:P", {"10.0.0.7"}),
    ],
)
def test_the_names_it_is_asked_for_by(
    host: str, options: dict[str, Any], first: str, others: set[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        names = [
            name.replace(port, "P") for name in _names(listener, host, AnnotateConfig(**options))
        ]
    assert names[0] == first
    assert others <= set(names)
    assert "0.0.0.0:P" not in names


# --- outputs of two policies ----------------------------------------------------------------------


def test_outputs_of_two_policies_are_joined_by_their_prompts(tmp_path: Path) -> None:
    one = [{"prompt": f"p{k}", "response": f"one {k}"} for k in range(3)]
    two = [{"prompt": f"p{k}", "response": f"two {k}"} for k in (2, 0, 1)]
    two[1]["response"] = "one 0"  # the same answer: nothing to ask
    samples = [written(tmp_path / "zanzibar.jsonl", one), written(tmp_path / "quetzal.jsonl", two)]
    ledger = Ledger()
    pairs = pairs_of(samples, ledger)
    assert [(pair.prompt, pair.a, pair.b) for pair in pairs] == [
        ("p1", "one 1", "two 1"),
        ("p2", "one 2", "two 2"),
    ]
    assert (pairs[0].source["a"], pairs[0].source["b"]) == ("zanzibar", "quetzal")
    assert ledger.count("identical_responses") == 1


@pytest.mark.parametrize(
    ("prompts", "reading", "cause"),
    [
        (("p0", "q"), {}, "do not hold the same prompts"),
        (("p0", "p1"), {"format": "pairs"}, "are for preference data"),
    ],
)
def test_outputs_that_cannot_be_joined(
    tmp_path: Path, prompts: tuple[str, ...], reading: dict[str, Any], cause: str
) -> None:
    one = [{"prompt": f"p{k}", "response": "x"} for k in range(2)]
    two = [{"prompt": prompt, "response": "y"} for prompt in prompts]
    samples = [written(tmp_path / "one.jsonl", one), written(tmp_path / "two.jsonl", two)]
    with pytest.raises(UserError, match=cause):
        pairs_of(samples, Ledger(), **reading)


def test_three_sources_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 sources"):
        pairs_of(["a", "b", "c"], Ledger())


def test_every_option_is_on_the_page_of_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "annotate.md").read_text("utf-8")
    for name, value in vars(AnnotateConfig()).items():
        default = {None: "none", True: "true", False: "false"}.get(value, str(value))
        assert f"| `{name}` | {default} |" in page
