"""Suspicious labels: a page of the comparisons that a scorer contradicts most, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewarddiff.report.cells import Table, texts
from rewarddiff.report.document import (
    Grade,
    Page,
    Response,
    Sample,
    Section,
    clip,
    clip_end,
    write,
)
from rewarddiff.report.values import DASH, count, percent, real, signed
from rewarddiff.version import __version__

Row = Mapping[str, Any]

Counts = tuple[int, int]
"""How many comparisons are contradicted, and of how many."""

NONE_SHOWN = "None of them are shown."
"""What a page says that was asked for no comparisons."""


def render_suspicious(
    path: Path,
    scorer: str,
    data: Sequence[str],
    rows: Sequence[Row],
    by_part: Mapping[str, Counts],
    remarks: Sequence[str] = (),
) -> None:
    """Write the page, whole or not at all.

    Args:
        rows: as `rewarddiff weigh` lists them, the most contradicted first.
        by_part: of each part of the data, "" where it has no name.
        remarks: what else a reader should know of the scorer.
    """
    write(path, document(scorer, data, rows, by_part, remarks))


def page(
    scorer: str,
    data: Sequence[str],
    rows: Sequence[Row],
    by_part: Mapping[str, Counts],
    remarks: Sequence[str] = (),
) -> str:
    """Return the page as text."""
    return document(scorer, data, rows, by_part, remarks).html()


def document(
    scorer: str,
    data: Sequence[str],
    rows: Sequence[Row],
    by_part: Mapping[str, Counts],
    remarks: Sequence[str] = (),
) -> Page:
    """Return the page."""
    contradicted = sum(counts[0] for counts in by_part.values())
    compared = sum(counts[1] for counts in by_part.values())
    shown = f"The {count(len(rows))} that it contradicts most are shown." if rows else NONE_SHOWN
    verdict = (
        f"{scorer} contradicts {count(contradicted)} of {count(compared)} labels "
        f"({percent(contradicted / compared)}). {shown}"
    )
    if not contradicted:
        verdict = f"{scorer} contradicts none of {count(compared)} labels."
    doubt = "Whether the label or the scorer is wrong, only a reader can tell."
    sections = [_parts_section(rows, by_part), *_sections(scorer, rows)]
    subtitle = f"rewarddiff {__version__} · {', '.join(data)}"
    return Page("Suspicious labels", subtitle, verdict, sections, remarks=(doubt, *remarks))


def _parts_section(rows: Sequence[Row], by_part: Mapping[str, Counts]) -> Section:
    """Return a table of the parts of the data, where there are several."""
    lines = []
    for part, (contradicted, compared) in _most_first(by_part):
        listed = sum(_part(row) == part for row in rows)
        share = percent(contradicted / compared)
        lines.append(
            texts(_named(part), count(compared), count(contradicted), share, count(listed))
        )
    table = Table(
        "Parts of the data",
        ("part", "comparisons", "contradicted", "share", "shown"),
        tuple(lines) if len(lines) > 1 else (),
    )
    return Section("parts", "Parts of the data", tables=(table,))


def _most_first(by_part: Mapping[str, Counts]) -> list[tuple[str, Counts]]:
    return sorted(by_part.items(), key=lambda part: -part[1][0])


def _sections(scorer: str, rows: Sequence[Row]) -> list[Section]:
    """Return the comparisons of every part in a section of their own, numbered over all."""
    samples: dict[str, list[Sample]] = {}
    for number, row in enumerate(rows, start=1):
        samples.setdefault(_part(row), []).append(_sample(scorer, number, row))
    sections = []
    for place, (part, of_part) in enumerate(samples.items(), start=1):
        title = f"{_named(part)} ({count(len(of_part))})" if len(samples) > 1 else "Comparisons"
        sections.append(Section(f"part-{place}", title, samples=tuple(of_part)))
    return sections


def _part(row: Row) -> str:
    return str(row.get("subset", ""))


def _named(part: str) -> str:
    return part or "without a name"


def _sample(scorer: str, number: int, row: Row) -> Sample:
    chosen, rejected = _response(row, "chosen"), _response(row, "rejected")
    return Sample(clip_end(_prompt(row["prompt"]).strip()), (chosen, rejected), _title(number, row))


def _title(number: int, row: Row) -> str:
    """Return where a comparison stands, and what the scorer says of it."""
    parts = [f"{number}", f"difference {signed(row['difference'])}"]
    if "probability" in row:
        parts.append(f"right with probability {percent(row['probability'])}")
    if "spread" in row:
        parts.append(f"spread {real(row['spread'])}")
    parts.append(str(row.get("row", DASH)))
    if "id" in row:
        parts.append(f"id {row['id']}")
    return " · ".join(parts)


def _response(row: Row, side: str) -> Response:
    label = "labelled better" if side == "chosen" else "labelled worse"
    grades: tuple[Grade, ...] = ()
    if f"{side}_score" in row:
        score = row[f"{side}_score"]
        best = score == max(row["chosen_score"], row["rejected_score"])
        grades = (Grade("score", real(score), best),)
    return Response(f"{side}: {label}", clip(_last(row[side])), grades)


def _last(response: Any) -> str:
    """Return the text of a response: a text, or the turn of a conversation."""
    return response if isinstance(response, str) else str(response[-1]["content"])


def _prompt(prompt: Any) -> str:
    """Return the text of a prompt: a text, or a conversation with its roles."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)
