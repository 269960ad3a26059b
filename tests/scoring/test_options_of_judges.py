"""`score`, `weigh` and `eval` by a judge behind a server: its options are given on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scorers.chat_server import MODEL, ChatServer, asked_text, serving
from scorers.judge_stubs import honest, saying

from rewarddiff import cli


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(saying(honest)) as state:
        yield state


@pytest.fixture
def data(tmp_path: Path) -> str:
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"Prompt {i}?", "chosen": f"one answer to {i}", "rejected": f"another to {i}"}
        for i in range(4)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def command(name: str, scorer: str, data: str, output: Path) -> list[str]:
    if name == "weigh":
        return ["weigh", data, "--scorer", scorer, "--output", str(output / "out.jsonl")]
    suffix = "" if name == "eval" else "out.jsonl"
    return [name, scorer, data, "--output", str(output / suffix)]


@pytest.mark.parametrize("name", ["score", "weigh", "eval"])
def test_the_judge_gets_its_options(
    name: str,
    server: ChatServer,
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.key = "secret-key"
    monkeypatch.setenv("JUDGE_KEY", "secret-key")
    line = command(name, f"{MODEL}@{server.url}", data, tmp_path / "out")
    assert cli.main([*line, "form=grades", "key_env=JUDGE_KEY", "max_tokens=77"]) == 0
    assert server.calls == 8  # four pairs in two orders
    assert all(body["max_tokens"] == 77 for body in server.posted)
    assert all("Verdict: 4" in asked_text(body) for body in server.posted)  # the form of grades


@pytest.mark.parametrize("name", ["score", "weigh", "eval"])
def test_options_are_refused_where_no_judge_takes_them(
    name: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command(name, "length", data, tmp_path / "out"), "form=grades"]) == 2
    message = capsys.readouterr().err
    assert "form=grades: an option of a language model that judges, and length is none" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["score", "weigh", "eval"])
def test_a_key_that_nobody_has_is_named_with_the_nearest(
    name: str, server: ChatServer, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = command(name, f"{MODEL}@{server.url}", data, tmp_path / "out")
    assert cli.main([*line, "promt=helpful"]) == 2
    assert "there is no key 'promt' here – did you mean 'prompt'?" in capsys.readouterr().err
    assert server.calls == 0


def test_another_form_is_another_scorer(server: ChatServer, data: str, tmp_path: Path) -> None:
    line = command("weigh", f"{MODEL}@{server.url}", data, tmp_path)
    assert cli.main([*line, "alpha=0.5"]) == 0
    before = server.calls
    assert cli.main([*line, "alpha=0.5", "form=grades"]) == 0
    assert server.calls - before == before
