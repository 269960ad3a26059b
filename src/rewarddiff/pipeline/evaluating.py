"""`rewarddiff eval`: every figure of trained scorers on labelled data, and each against each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rewarddiff import __version__, machine, models
from rewarddiff.data import Ledger, load_groups
from rewarddiff.errors import UserError
from rewarddiff.evaluation.metrics import sign_flip_test
from rewarddiff.evaluation.scorers import ScoredComparison, overlap_remark
from rewarddiff.machine import Meter
from rewarddiff.outputs import folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.results import agreements, contrast, read_results
from rewarddiff.pipeline.scorers import compare, measure
from rewarddiff.pipeline.stage import write_json
from rewarddiff.report import render
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.writing import say

SUMMARY = ("accuracy", "spearman_strength", "ece", "temperature", "ece_tempered", "mean", "std")


def eval_stage(
    scorers: Sequence[str | Path], data: str | Path, output: Path | None = None, **reading: Any
) -> dict[str, Any]:
    """Every figure of trained scorers on labelled data; with `output`, also results.json and
    report.html there.

    Args:
        reading: how data is read, see `load_groups`.

    Returns:
        `scorers`: by name, see `evaluation.scorers.evaluate_differences`; `scorer_contrasts`: gaps
        in accuracy of each to each that was named before it, on the same comparisons, in the order
        of naming; `ledger`: of the data.

    Raises:
        UserError: nothing is compared in the data, or a scorer is named twice.
    """
    if repeated := [name for name, times in Counter(map(str, scorers)).items() if times > 1]:
        raise UserError(f"{repeated[0]}: given twice; name every scorer once")
    if output is None:
        return _evaluated(list(map(str, scorers)), data, None, reading)
    output = user_path(output)
    _check_earlier(output, _title(map(str, scorers), data))
    with folder_for(output):
        return _evaluated(list(map(str, scorers)), data, output, reading)


def _check_earlier(output: Path, title: str) -> None:
    """Refuse to replace a run's results; say beforehand which other evaluation will be replaced."""
    try:
        earlier = json.loads((output / "results.json").read_text())
    except (OSError, ValueError):
        return
    if not isinstance(earlier, dict) or "recipe" in earlier:
        raise UserError(
            f"{output}: holds results that are not of an evaluation; choose another output"
        )
    if earlier.get("name") != title:
        say(f"{output}: what is there will be replaced ({earlier.get('name')})")


def _title(scorers: Iterable[str], data: str | Path) -> str:
    return f"{', '.join(scorers)} on {data}"


def _evaluated(
    scorers: Sequence[str], data: str | Path, output: Path | None, reading: Mapping[str, Any]
) -> dict[str, Any]:
    ledger = Ledger()
    groups = load_groups(data, ledger=ledger, **reading)
    if not any(any(group.known_comparisons()) for group in groups):
        raise UserError(
            f"{data}: compares no two responses, and a scorer is measured on comparisons; give chosen and rejected "
            "responses, or lists with scores or ranks"
        )
    said: dict[str, list[ScoredComparison]] = {}
    entries: list[dict[str, Any]] = []
    for name in scorers:
        loaded = load_scorer(user_path(name)).to(models.device())
        with Meter() as meter:
            said[name] = compare(loaded, groups, f"scoring by {name}")
            evaluation = {**measure(said[name], loaded.temperature), "cut": loaded.cut(groups)}
        entries.append(
            {
                "name": name,
                "kind": loaded.kind,
                "seed": 0,
                "evaluation": evaluation,
                "cost": meter.cost(),
            }
        )
    contrasts = list(_contrasts(said))
    if output is not None:
        counts = {"test": {"groups": len(groups), "comparisons": entries[0]["evaluation"]["n"]}}
        found = {"splits": counts, "ledger": ledger.to_dict()}
        write_json(output / "results.json", _results(_title(said, data), found, entries, contrasts))
        render(read_results(output), output)
    told = {e["name"]: e["evaluation"] for e in entries}
    return {"scorers": told, "scorer_contrasts": contrasts, "ledger": ledger.to_dict()}


def _contrasts(said: Mapping[str, Sequence[ScoredComparison]]) -> list[dict[str, Any]]:
    """Each scorer against each before it, on the comparisons that neither was trained on."""
    contrasts = []
    for b, a in combinations(said, 2):
        ours, theirs = agreements([said[a]], [said[b]])
        p = sign_flip_test((ours.right - theirs.right)[0])
        contrasts.append({"a": a, "b": b, "test": "test", **contrast(ours, theirs), "p": p})
    return contrasts


def _results(
    title: str,
    found: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    contrasts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    summary = [
        {
            "name": e["name"],
            "kind": e["kind"],
            "seeds": 1,
            **{k: e["evaluation"][k] for k in SUMMARY},
        }
        for e in entries
    ]
    return {
        "schema": 1,
        "name": title,
        "version": __version__,
        "machine": machine.describe(),
        "data": found,
        "scorers": entries,
        "scorer_contrasts": contrasts,
        "summary": {"scorers": summary},
        "costs": [{"stage": f"evaluation of {e['name']}", **e["cost"]} for e in entries],
        "stages": ["eval"],
        "notes": [_note(e["name"], e["evaluation"]) for e in entries],
    }


def _note(name: str, evaluation: Mapping[str, Any]) -> str:
    found, longer = evaluation["accuracy"], evaluation["baselines"]["longer_wins"]["value"]
    if not found["n"]:
        return f"{name}: no comparison has a better response."
    known = found["low"] is not None
    bounds = f" [{100 * found['low']:.1f}, {100 * found['high']:.1f}]" if known else ""
    return (
        f"{name} is right on {100 * found['value']:.1f} % of {found['n']} comparisons{bounds}; "
        f"the longer response is the better one in {100 * longer:.1f} %."
        + _cut(evaluation["cut"])
        + f" {overlap_remark(evaluation['trained_on'])}".rstrip()
    )


def _cut(cut: Mapping[str, int]) -> str:
    told = [f"{count} with a {part} beyond its limits" for part, count in cut.items() if count]
    return f" It read {' and '.join(told)} in part." if told else ""
