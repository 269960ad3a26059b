"""What the laboratory with a transformer has measured → one page with plots, and Markdown."""

from __future__ import annotations

from pathlib import Path

from rewarddiff.lab.online.baselines import (
    claim,
    correlation_part,
    k_part,
    scale_part,
)
from rewarddiff.lab.online.difficulty import difficulty_part
from rewarddiff.lab.online.gains import distance_part, ways_part
from rewarddiff.lab.online.noise import is_learned, misreadings, noise_part
from rewarddiff.lab.online.parts import Findings
from rewarddiff.lab.online.results import OnlineLab
from rewarddiff.report.values import percent, real

PARTS = (
    ways_part,
    distance_part,
    difficulty_part,
    k_part,
    scale_part,
    correlation_part,
    noise_part,
)


def render_online(results: OnlineLab, folder: Path) -> Path:
    """Write `folder/lab-online.html` and `folder/lab-online.md` with its `images`.

    Returns:
        The page's path.
    """
    return findings(results).write(folder)


def findings(results: OnlineLab) -> Findings:
    """Return everything that the page says."""
    asked = [part(results) for part in PARTS]
    parts = tuple(part for part in asked if not part.is_empty)
    subtitle = f"rewarddiff {results.version} · {len(results.starts)} worlds"
    title = "Contrastive rewards, and others, on a small transformer"
    return Findings("lab-online", title, subtitle, about(results), parts)


def about(results: OnlineLab) -> str:
    """Say what was done, what figures are, and what came of the paper's claim."""
    text = (
        "A small transformer learns to do as it is asked. A response succeeds (true reward 1) or "
        f"fails (0); {_reward(results)}. Every way learns from {results.samples:,} responses, and is "
        f"measured by its true reward on held-out prompts: {real(results.start.value)} before "
        f"training, at best {real(results.best)}. Intervals are of 95 % over {len(results.starts)} "
        f"worlds; gaps are taken in the same world. {claim(results)}"
    )
    return text.rstrip()


def _reward(results: OnlineLab) -> str:
    """Say what is learned from."""
    c0, c1 = misreadings(results)
    misread = f"{percent(c0, 0)} of the failures as successes and {percent(c1, 0)} of the successes as failures"
    if is_learned(results):
        return (
            "what is learned from is a reward model, trained on comparisons by rewards that read "
            f"{misread}; it puts a success before a failure in {percent(results.accuracy.value, 0)}"
        )
    return f"the reward that is learned from reads {misread}"
