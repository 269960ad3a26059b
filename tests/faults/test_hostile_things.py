"""Some of what `hostile.py`, `paths.py`, `pages.py` and `terminal.py` try by the hundred."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import hostile_things as things
import pages
import pytest
import terminal

from rewarddiff.cli import main
from rewarddiff.rendering import Refusal, RenderingError, render

HERE = Path(__file__).parent

PROGRAMS = [
    name
    for name in things.TEMPLATES
    if name.startswith(("walks", "globals", "formats_", "code_", "imports", "includes", "itself"))
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_template_reaches_nothing_beyond_the_conversation(name: str, tmp_path: Path) -> None:
    turns = [{"messages": [{"role": "user", "content": "Hi"}]}]
    try:
        (text,) = render(things.TEMPLATES[name], turns, {})
    except RenderingError:
        return
    if isinstance(text, str):
        assert "<class" not in text
        assert "<module" not in text
        assert "root:" not in text  # of /etc/passwd
    else:
        assert isinstance(text, Refusal)
    assert not Path("EVIL").exists()


@pytest.mark.parametrize("name", list(things.DATA))
def test_data_is_read_or_refused_in_one_line(
    name: str, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "swell" in name:
        pytest.skip("gigabytes: in hostile.py")
    stock = things.Stock(policy_folder, policy_folder, policy_folder, tmp_path)
    thing = things.DATA[name](stock)
    command = ["annotate", "--export", str(thing), "--output", str(tmp_path / "o.jsonl")]
    if not name.startswith("votes"):
        command = ["check", str(thing)]
    start = time.process_time()
    status = main(command)
    assert time.process_time() - start < 20
    assert not list(tmp_path.rglob("*.ran"))
    error = capsys.readouterr().err
    assert status in (0, 2)
    assert "Traceback" not in error
    if status == 2:
        assert error.splitlines()[-1].startswith("rewarddiff: error: ")


@pytest.mark.parametrize("name", list(things.RECIPES))
def test_a_recipe_is_data(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(things.RECIPES[name])
    start = time.process_time()
    status = main(["run", "recipe.yaml", "--print"])
    assert time.process_time() - start < 10
    assert status in (0, 2)
    assert len(capsys.readouterr().err.splitlines()) == (status == 2)
    assert not Path("EVIL").exists()


@pytest.mark.parametrize(
    "kind", ["sweep", "suspicious", "baseline", "annotate", "sweep.md", "model card"]
)
def test_payloads_stay_text(kind: str) -> None:
    assert pages.some(kind, 30) == []


def test_a_page_that_lets_a_payload_through_is_found() -> None:
    page = "<p>{}</p>"
    assert pages.faults("", page.format("<b>x</b>"), page.format("xbxxxxbx"))
    assert pages.faults("", page.format("&lt;b&gt;"), page.format("xbx")) == []
    assert pages.faults("annotate", "<a href='javascript:x'>", "<a href='http://x'>")


@pytest.mark.parametrize(
    "name", ["name_of_a_column", "option", "print_of_a_library", "bar_of_progress"]
)
def test_nothing_leaves_raw(name: str, policy_folder: Path, tmp_path: Path) -> None:
    arrived, raw, _ = terminal.tried(
        name, tmp_path, policy_folder, "http://127.0.0.1:9", terminal=True
    )
    assert arrived
    assert raw == []


def test_what_leaves_raw_is_found() -> None:
    for text in terminal.ACTS.values():
        assert terminal.left_raw(f"x{text}y\n".encode())
    assert terminal.left_raw(b"\x9b31m")
    assert terminal.left_raw(b"\x1b[1mbold\x1b[0m\r\n") == []


def test_nothing_is_written_outside_the_output() -> None:
    tried = subprocess.run(
        [sys.executable, str(HERE / "paths.py"), "quick"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
