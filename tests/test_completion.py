"""What a shell completes, asked of the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.cli import main
from rewarddiff.cli.completion import KEYS
from rewarddiff.config import to_dict
from rewarddiff.pipeline.recipe import Recipe

ASK = """
source {script}
complete -p rewarddiff
while read -ra COMP_WORDS; do
  [[ ${{COMP_WORDS[-1]}} == "?" ]] && COMP_WORDS[-1]=""
  COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
  COMPREPLY=()
  _rewarddiff_completed rewarddiff "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
  echo "${{COMPREPLY[@]}}"
done
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def test_bash_completes_commands_options_files_and_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "runs").mkdir()
    asked = {
        "rewarddiff comp": "compare completion",
        "rewarddiff init demo --out": "--output",
        "rewarddiff run mi": "mine.yaml",
        "rewarddiff run mine.yaml data.li": "data.limit=",
        "rewarddiff run mine.yaml seed": "seed=",
        "rewarddiff report ru": "runs",
        "rewarddiff train diff": "difference",
        "rewarddiff train reward --data mi": "mine.yaml",
        "rewarddiff completion ?": "bash zsh fish",
    }
    lines = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(script=script("bash", tmp_path, capsys))],
        input="".join(f"{line}\n" for line in asked),
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert lines[0] == "complete -o filenames -F _rewarddiff_completed rewarddiff"
    assert dict(zip(asked, lines[1:], strict=True)) == asked


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_scripts(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(shell, tmp_path, capsys)
    text = path.read_text()
    assert "data.limit=" in text
    assert "compare" in text
    if shutil.which(shell):
        read = subprocess.run([shell, "-n", path], capture_output=True, timeout=60, check=False)
        assert (read.returncode, read.stderr) == (0, b"")


def leaves(node: Any, place: str = "") -> Iterator[str]:
    if place in ("scorers", "policies"):
        yield f"{place}."
    elif isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{place}.{key}".removeprefix("."))
    else:
        yield place


def test_the_keys_are_those_of_a_recipe() -> None:
    assert sorted(KEYS) == sorted(leaves(to_dict(Recipe(name="any"))))


def test_a_shell_that_is_not_known_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
    assert "there is no 'tcsh'" in capsys.readouterr().err
