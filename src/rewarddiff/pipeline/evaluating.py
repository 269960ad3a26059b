"""`rewarddiff eval`: every figure of trained scorers on labelled data, and each against each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from rewarddiff.data import Groups, Ledger, load_groups
from rewarddiff.errors import UserError
from rewarddiff.evaluation.comparisons import compare, require_scored
from rewarddiff.evaluation.intervals import sign_flip_test
from rewarddiff.evaluation.scored import Scored
from rewarddiff.evaluation.side_by_side import side_by_side
from rewarddiff.machine import Meter
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import content
from rewarddiff.pipeline.earlier import check_earlier
from rewarddiff.pipeline.results import summarised, without_training
from rewarddiff.pipeline.scorers import measure
from rewarddiff.pipeline.stage import write_results
from rewarddiff.processes import once, shared
from rewarddiff.remembering import open_store
from rewarddiff.report import render
from rewarddiff.report.scorer_statements import evaluation_note
from rewarddiff.results import (
    Cost,
    Cut,
    Data,
    LedgerCounts,
    Results,
    ScorerContrast,
    ScorerResult,
    SplitCounts,
    StageCost,
    Summary,
    read,
)
from rewarddiff.scorers.neural.identity import answers_fingerprint
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.opening import (
    fingerprint_of,
    is_address,
    is_asked_elsewhere,
    open_scorer,
    options_of_each,
)
from rewarddiff.scorers.people import PeopleScorer
from rewarddiff.scorers.protocol import Judge, Scorer
from rewarddiff.store import Store


@shared()
def eval_stage(
    scorers: Sequence[str | Path],
    data: str | Path,
    output: Path | None = None,
    *,
    options: Sequence[str] = (),
    **reading: Any,
) -> Results:
    """Return every figure of scorers on labelled data.

    Each scorer is also held against each that was named before it, on the same comparisons.

    Args:
        output: a folder for results.json and report.html.
        options: of the language models among them, as `form=grades`.
        reading: how data is read, see `load_groups`.

    Raises:
        UserError: nothing is compared in the data, or a scorer is named twice.
    """
    names = [str(scorer) for scorer in scorers]
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"{name}: given twice; name every scorer once")
    title = f"{', '.join(names)} on {data}"
    texts = options_of_each(names, options)
    if output is None:
        return _evaluated(texts, data, title, reading, None)
    output = user_path(output)
    check_earlier(output, "eval", title, others="that are not of an evaluation")
    with run_folder_for(output):
        results = _evaluated(texts, data, title, reading, output)
        write_results(output, results)
        once(lambda: render(results, output))
    return results


def _evaluated(
    scorers: Mapping[str, Sequence[str]],
    data: str | Path,
    title: str,
    reading: Mapping[str, Any],
    output: Path | None,
) -> Results:
    """Return the figures of scorers, which come with their options."""
    ledger = Ledger()
    groups = load_groups(data, ledger=ledger, **reading)
    if not any(any(group.known_comparisons()) for group in groups):
        raise UserError(
            f"{data}: compares no two responses, and a scorer is measured on comparisons; give "
            "chosen and rejected responses, or lists with scores or ranks"
        )
    compared: dict[str, Scored] = {}
    results = []
    summaries = []
    for name, options in scorers.items():
        compared[name], result = _measured(name, options, groups, output)
        (agreement,) = side_by_side([compared[name]])
        summary = summarised([result], agreement)
        results.append(result)
        summaries.append(
            replace(
                summary,
                accuracy=result.evaluation.accuracy,
                spearman_strength=result.evaluation.spearman_strength,
            )
        )
    counts = SplitCounts(len(groups), results[0].evaluation.n, labels=0)
    costs = [StageCost(stage=f"evaluation of {r.name}", **vars(r.cost)) for r in results]
    of_data = Data(
        {"test": counts},
        read(LedgerCounts, ledger.to_dict()),
        tests={},
        contents={"test": content(groups)},
        prompts="",
    )
    return replace(
        without_training("eval", title, of_data, costs),
        scorers=tuple(results),
        scorer_contrasts=tuple(_contrasts(compared)),
        summary=Summary(tuple(summaries), ()),
        notes=tuple(evaluation_note(result) for result in results),
    )


def _measured(
    name: str, options: Sequence[str], groups: Groups, output: Path | None
) -> tuple[Scored, ScorerResult]:
    """Return what a scorer says of every comparison, and its figures.

    Args:
        output: where the answers of judges and servers are kept.
    """
    scorer = open_scorer(name, options)
    with Meter() as meter, _kept(scorer, output) as store:
        comparisons = compare(scorer, groups, store=store, progress=f"scoring by {name}")
        require_scored(scorer, comparisons)
        evaluation = measure(comparisons, scorer.temperature)
        if isinstance(scorer, NeuralScorer):
            evaluation = replace(evaluation, cut=Cut(**scorer.cut(groups)))
    result = ScorerResult(
        name=name,
        scorer=name,
        test="test",
        kind=_kind(name, scorer),
        seed=0,
        backbone=name,
        fingerprint=_fingerprint(name, options, scorer),
        evaluation=evaluation,
        curve=(),
        cost=Cost.measured(meter.cost()),
        ledger=read(LedgerCounts, Ledger().to_dict()),
    )
    return comparisons, result


@contextmanager
def _kept(scorer: Scorer, output: Path | None) -> Iterator[Store | None]:
    """Open the store for answers that cost more than to keep them; None for others."""
    if output is None or not is_asked_elsewhere(scorer):
        yield None
        return
    with open_store(output / "store.sqlite") as store:
        yield store


def _kind(name: str, scorer: Scorer) -> str:
    """Return what kind of scorer it is: of those that are named by their kind, the name."""
    if isinstance(scorer, NeuralScorer):
        return scorer.kind
    if isinstance(scorer, PeopleScorer):
        return "people"
    if isinstance(scorer, Judge):
        return "judge"
    return "remote" if is_address(name) else name


def _fingerprint(name: str, options: Sequence[str], scorer: Scorer) -> str:
    if isinstance(scorer, NeuralScorer):
        return answers_fingerprint(user_path(name))
    return fingerprint_of(name, options)


def _contrasts(compared: Mapping[str, Scored]) -> Iterator[ScorerContrast]:
    """Yield each scorer against each before it, on the comparisons that neither was trained on."""
    for b, a in combinations(compared, 2):
        ours, theirs = side_by_side([compared[a]], [compared[b]])
        gap = ours.accuracy_gap(theirs)
        p = sign_flip_test((ours.right - theirs.right)[0])
        yield ScorerContrast(a, b, "test", gap, ours.spearman_gap(theirs), p)
