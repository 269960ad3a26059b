"""A laboratory with known truth: when does weighting by the difference help, and by how much?"""

from __future__ import annotations

from pathlib import Path

from rewarddiff.lab.asking import Finding, LabConfig
from rewarddiff.lab.identities import identities
from rewarddiff.lab.page import render_lab
from rewarddiff.lab.questions import QUESTIONS
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import user_path
from rewarddiff.progress import task
from rewarddiff.version import __version__

__all__ = ["Finding", "LabConfig", "lab"]


def lab(output: str | Path, config: LabConfig) -> list[Finding]:
    """Put every question, and write `output/lab.html` and `output/lab.md`.

    Args:
        config: the worlds, the training, the number of seeds; the default takes a minute or two.
    """
    folder = user_path(output)
    findings = []
    with run_folder_for(folder):
        with task("laboratory", len(QUESTIONS)) as progress:
            for question in QUESTIONS:
                finding = question(config)
                findings.append(finding)
                progress.advance(1, finding.question)
        render_lab(config, findings, identities(), __version__, folder)
    return findings
