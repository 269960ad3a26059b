"""`rewarddiff compare`: finished runs and evaluations, laid side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rewarddiff.errors import UserError
from rewarddiff.outputs import file_for
from rewarddiff.paths import user_path
from rewarddiff.report.compare import render_comparison
from rewarddiff.report.side_by_side import NamedRun
from rewarddiff.results import RESULTS, read_results, results_folder


def compare_stage(folders: Sequence[str | Path], output: Path) -> list[NamedRun]:
    """Write a page on several runs, and return them as it names them.

    Args:
        folders: of runs or evaluations, each with results.json.

    Raises:
        UserError: fewer than two, one twice, or one without results.
    """
    places = [results_folder(user_path(folder)) for folder in folders]
    if len(places) < 2:
        raise UserError("compare: needs two runs or more; give the folder of each")
    for folder, times in Counter(place.resolve() for place in places).items():
        if times > 1:
            raise UserError(f"{folder}: given twice; name every run once")
    labels = _labels([user_path(folder) for folder in folders])
    runs = []
    for label, place in zip(labels, places, strict=True):
        runs.append(NamedRun(label, read_results(place)))
    with file_for(output, [place / RESULTS for place in places]):
        render_comparison(runs, output)
    return runs


def _labels(places: Sequence[Path]) -> list[str]:
    """Return what to call each folder: its name, with as much of its path as tells it apart."""
    parts = [place.resolve().parts for place in places]
    for depth in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(path[-depth:]) for path in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [str(place) for place in places]
