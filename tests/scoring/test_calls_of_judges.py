"""What asking a judge about rows takes is said before and after; what is of no use is not left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scorers.chat_server import MODEL, ChatServer, serving
from scorers.judge_stubs import honest, saying

from rewarddiff import cli


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(saying(honest)) as state:
        yield state


def written(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


def pairs(count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Prompt {i}?", "chosen": f"one to {i}", "rejected": f"other to {i}"}
        for i in range(count)
    ]


def lone(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Prompt {i}?", "response": f"one to {i}"} for i in range(count)]


def command(name: str, scorer: str, data: str, output: Path) -> list[str]:
    if name == "weigh":
        return ["weigh", data, "--scorer", scorer, "--output", str(output)]
    return [name, scorer, data, "--output", str(output)]


@pytest.mark.parametrize("name", ["score", "weigh"])
def test_calls_are_said_before_and_after(
    name: str, server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "pairs.jsonl", pairs(12))
    line = command(name, f"{MODEL}@{server.url}", data, tmp_path / "out.jsonl")
    assert cli.main([*line, "price_in=1", "price_out=1", "max_tokens=100"]) == 0
    said = capsys.readouterr()
    # 12 pairs in two orders, and half of max_tokens foreseen for each reply: 24 · 50.
    assert "24 calls, by estimate" in said.err
    assert "1,200 written" in said.err
    (after,) = (text for text in said.out.splitlines() if text.startswith("asked"))
    assert "24 calls" in after
    assert "tokens read" in after
    assert "price" in after


def test_a_second_window_is_foreseen_from_the_first(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 256 rows are a window; 264 are 33 of 32 parts of one, in one order.
    data = written(tmp_path / "pairs.jsonl", pairs(264))
    line = command("weigh", f"{MODEL}@{server.url}", data, tmp_path / "out.jsonl")
    assert cli.main([*line, "orders=one", "concurrency=16"]) == 0
    said = capsys.readouterr()
    assert "about 264 calls" in said.err
    assert said.err.count("by estimate") == 1
    assert "264 calls" in said.out
    assert server.calls == 264


@pytest.mark.parametrize("name", ["score", "weigh"])
def test_a_judge_that_refuses_all_leaves_nothing(
    name: str, server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply = lambda body: "I would rather not say."
    data = written(tmp_path / "pairs.jsonl", pairs(2))
    line = command(name, f"{MODEL}@{server.url}", data, tmp_path / "out.jsonl")
    assert cli.main([*line, "attempts=1"]) == 2
    assert "says nothing of any of 2" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_lone_responses_are_no_comparisons_to_weigh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "ours.jsonl", lone(3))
    assert cli.main(command("weigh", "length", data, tmp_path / "out.jsonl")) == 2
    message = capsys.readouterr().err
    assert "ours.jsonl: nothing to weigh, one response to each prompt" in message
    assert [path.name for path in tmp_path.iterdir()] == ["ours.jsonl"]


def test_who_compares_scores_no_lone_response(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "ours.jsonl", lone(3))
    judge = f"{MODEL}@{server.url}"
    assert cli.main(command("score", judge, data, tmp_path / "out.jsonl")) == 2
    message = capsys.readouterr().err
    assert "ours.jsonl: one response to each prompt, and this scorer compares" in message
    assert [path.name for path in tmp_path.iterdir()] == ["ours.jsonl"]
    # Whoever reads one response by itself scores them all.
    assert cli.main(command("score", "length", data, tmp_path / "out.jsonl")) == 0
