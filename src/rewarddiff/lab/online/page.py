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
from rewarddiff.lab.online.misread import reward_words
from rewarddiff.lab.online.noise import noise_part
from rewarddiff.lab.online.parts import Findings
from rewarddiff.lab.online.results import OnlineLab
from rewarddiff.report.values import real
from rewarddiff.writing import counted

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
    subtitle = f"rewarddiff {results.version} · {counted(len(results.starts), 'world')}"
    title = "Contrastive rewards, and others, on a small transformer"
    return Findings("lab-online", title, subtitle, about(results), parts)


def about(results: OnlineLab) -> str:
    """Say what was done, what figures are, and what came of the paper's claim."""
    text = (
        "A small transformer learns to do as it is asked. A response succeeds (true reward 1) or "
        f"fails (0); {reward_words(results)}. Every way learns from {results.samples:,} responses, and is "
        f"measured by its true reward on held-out prompts: {real(results.start.value)} before "
        f"training, at best {real(results.best)}. {_intervals(results)} {claim(results)}"
    )
    return text.rstrip()


def _intervals(results: OnlineLab) -> str:
    """Say what intervals are over, and gaps, where there are any."""
    worlds = len(results.starts)
    text = f"Intervals are of 95 % over {worlds} worlds"
    if worlds == 1:
        text = "Of one world there are no intervals"
    if len(results.ways) > 1:
        text += "; gaps are taken in the same world"
    return f"{text}."
