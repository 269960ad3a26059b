"""What judging by one judge took: calls, tokens, price; foreseen, and as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rewarddiff.endpoints.chat import Usage
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.scorers import scorer_stage
from rewarddiff.pipeline.verdicts import Answers, PolicyPair, different
from rewarddiff.results import JudgeUse
from rewarddiff.scorers.judging.cost import price
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.store import Store, fingerprint


def options_of(judge: Scorer) -> Judge | None:
    """Return the options of a language model that judges; None of any other scorer."""
    options = getattr(judge, "options", None)
    return options if isinstance(options, Judge) else None


def model_of_options(options: Judge) -> str:
    """Return what a judge is, and where."""
    return options.local or f"{options.model} at {options.url}"


def unit_of(name: str, options: object) -> str:
    """Return the unit of a judge's differences: language models asked in one form share theirs."""
    return options.form if isinstance(options, Judge) else name


def foreseen_price(
    judge: Scorer, answers: Answers, pairs: Sequence[PolicyPair], store: Store
) -> float | None:
    """Estimate what asking about these answers costs beyond what is kept; None without prices."""
    estimate = getattr(judge, "estimate", None)
    if estimate is None:
        return None
    duels = different(answers, pairs)
    foreseen: float | None = estimate(duels, [[(0, 1)] for _ in duels], store=store).price
    return foreseen


def usage_of(judge: Scorer) -> Usage:
    """Return what a judge was asked for since it was opened; nothing of what is no language model."""
    usage: Usage = getattr(judge, "usage", Usage())
    return usage


def use_of(
    name: str, judge: Scorer, usage: Usage, *, estimated_price: float | None, seconds: float
) -> JudgeUse:
    """Return what a judge was asked for, and what that cost."""
    options = options_of(judge)
    return JudgeUse(
        judge=name,
        kind=_kind(judge),
        model=name if options is None else model_of_options(options),
        estimated_price=estimated_price,
        seconds=seconds,
        **_figures(usage, options),
    )


def _kind(judge: Scorer) -> str:
    """Return what a judge is: judge, people, length, reward, …"""
    options = options_of(judge)
    kind = getattr(judge if options is None else options, "kind", None)
    return kind if isinstance(kind, str) else type(judge).__name__.removesuffix("Scorer").lower()


def _figures(usage: Usage, options: Judge | None) -> dict[str, Any]:
    paid = None
    if options is not None:
        paid = price(usage.prompt_tokens, usage.completion_tokens, options)
    return {**asdict(usage), "price": paid}


# --- of a run -------------------------------------------------------------------------------------

NOTHING: Mapping[str, Any] = {
    "calls": 0,
    "kept": 0,
    "prompt_tokens": None,
    "completion_tokens": None,
    "price": None,
    "failures": {},
}


@contextmanager
def uses_kept(run: Run) -> Iterator[None]:
    """Add what judges are asked meanwhile to what the run's store knows of earlier times."""
    try:
        yield
    finally:
        for name, judge in run.judges.items():
            key = _key(run, name)
            earlier = run.store.get([key]).get(key, NOTHING)
            run.store.put({key: _sum(earlier, _figures(usage_of(judge), options_of(judge)))})
        run.judges.clear()


def uses(run: Run) -> Iterator[JudgeUse]:
    """Yield what each language model that judges was asked for, in all processes of a run."""
    for name, options in run.recipe.judges.items():
        if not isinstance(options, Judge):
            continue
        key = _key(run, name)
        figures = run.store.get([key]).get(key, NOTHING)
        yield JudgeUse(
            judge=name,
            kind=options.kind,
            model=model_of_options(options),
            estimated_price=None,
            seconds=_seconds(run, name),
            **figures,
        )


def _key(run: Run, name: str) -> str:
    return fingerprint("judge use", name, run.recipe.judges[name].fingerprint())


def _sum(earlier: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum of both; of what is unknown in one, what the other says."""
    total = dict(earlier)
    for key in ("calls", "kept", "prompt_tokens", "completion_tokens", "price"):
        if figures[key] is not None:
            total[key] = (earlier[key] or 0) + figures[key]
    failures = Counter(earlier["failures"])
    failures.update(figures["failures"])
    return {**total, "failures": dict(failures)}


def _seconds(run: Run, name: str) -> float:
    """Return how long a judge took: for its evaluation, for columns, and for verdicts on policies."""
    opened = {scorer_stage(run, name, seed).key for seed in run.recipe.seeds}
    seconds = 0.0
    for stage in run.stages.values():
        seconds += stage.manifest.get("judges", {}).get(name, 0.0)
        if stage.key in opened or stage.inputs.get("scorer") in opened:
            seconds += stage.manifest["cost"]["seconds"]
    return seconds
