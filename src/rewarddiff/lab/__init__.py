"""A laboratory with known truth: when does weighting by the difference help, and by how much?
Seconds per run."""

from __future__ import annotations

from pathlib import Path

from rewarddiff import __version__
from rewarddiff.lab.identities import identities
from rewarddiff.lab.page import render_lab
from rewarddiff.lab.questions import QUESTIONS, Finding, LabConfig
from rewarddiff.outputs import folder_for
from rewarddiff.paths import user_path
from rewarddiff.progress import task

__all__ = ["Finding", "LabConfig", "lab"]


def lab(output: str | Path = "runs/lab", config: LabConfig | None = None) -> list[Finding]:
    """Put every question, and write `output/lab.html` and `output/lab.md`.

    Args:
        config: the worlds, the training, the number of seeds; the default takes a minute or two.
    """
    config, output, found = config or LabConfig(), user_path(output), []
    with folder_for(output):
        with task("laboratory", len(QUESTIONS)) as progress:
            for question in QUESTIONS:
                found.append(question(config))
                progress.advance(1, found[-1].question)
        render_lab(config, found, identities(), __version__, output)
    return found
