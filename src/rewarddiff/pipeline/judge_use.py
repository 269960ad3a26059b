"""What judging by one judge took: calls, tokens, price; foreseen, and as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any, TypeVar

from rewarddiff import launch
from rewarddiff.endpoints.chat import Usage
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.judge_account import NOTHING, Account, figures, key_of
from rewarddiff.pipeline.scorers import scorer_stage
from rewarddiff.pipeline.verdicts import Answers, different
from rewarddiff.results import JudgeUse
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.scorer import JudgeScorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.store import Store

Asked = TypeVar("Asked")


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


def check_servers(
    judges: Mapping[str, Scorer], answers: Answers, store: Store, *, attack: bool
) -> None:
    """See that every judge that is going to be asked can be, before the first one is paid.

    Raises:
        UserError: a server is down, has no such model, or takes no such key.
    """
    pairs = list(combinations(answers.policies, 2))
    duels = different(answers, pairs)
    for judge in judges.values():
        if not isinstance(judge, JudgeScorer):
            continue
        if attack or judge.estimate(duels, [[(0, 1)] for _ in duels], store=store).calls:
            judge.check()


def usage_of(judge: Scorer) -> Usage:
    """Return what a judge was asked for since it was opened; nothing of what is no language model."""
    usage: Usage = getattr(judge, "usage", Usage())
    return usage


@contextmanager
def use_kept(store: Store, name: str, judge: Scorer, asked: Asked) -> Iterator[Asked]:
    """Give who is asked, so that what is asked meanwhile is added to what the store knows of earlier times.

    It is written with every answer, and once more in the end, however that comes.

    Args:
        asked: the judge, or what reads for it; opened for this alone.
    """
    options = options_of(judge)
    if options is None:
        yield asked
        return
    reader: Any = asked
    account = Account.opened(store, key_of(name, options), reader.usage, options)
    try:
        yield replace(reader, beside=account.beside)
    finally:
        if account.usage.calls:
            store.put(account.so_far())


def use_of(name: str, judge: Scorer, usage: Usage, *, store: Store, seconds: float) -> JudgeUse:
    """Return what a judge was asked for at any time, and what that cost; `kept` is of this time."""
    options = options_of(judge)
    of_all_times = figures(usage, options)
    if options is not None:
        key = key_of(name, options)
        of_all_times |= {**store.get([key]).get(key, {}), "kept": usage.kept}
    return _judge_use(
        name,
        _kind(judge),
        name if options is None else model_of_options(options),
        of_all_times,
        seconds,
    )


def _judge_use(
    name: str, kind: str, model: str, asked: Mapping[str, Any], seconds: float
) -> JudgeUse:
    values = {**asked, "notes": tuple(asked["notes"])}
    return JudgeUse(judge=name, kind=kind, model=model, seconds=seconds, **values)


def _kind(judge: Scorer) -> str:
    """Return what a judge is: judge, people, length, reward, …"""
    options = options_of(judge)
    kind = getattr(judge if options is None else options, "kind", None)
    return kind if isinstance(kind, str) else type(judge).__name__.removesuffix("Scorer").lower()


# --- of a run -------------------------------------------------------------------------------------


@contextmanager
def uses_kept(run: Run) -> Iterator[None]:
    """Add what judges are asked meanwhile to what the run's store knows of earlier times."""
    try:
        yield
    finally:
        for accounted in run.judges.values():
            if launch.is_main():  # which has asked for all
                run.store.put(accounted.account.so_far())
        run.judges.clear()


def uses(run: Run) -> Iterator[JudgeUse]:
    """Yield what each language model that judges was asked for, in all processes of a run."""
    for name, options in run.recipe.judges.items():
        if not isinstance(options, Judge):
            continue
        key = key_of(name, options)
        asked = {**NOTHING, **run.store.get([key]).get(key, {})}
        seconds = _seconds(run, name)
        yield _judge_use(name, options.kind, model_of_options(options), asked, seconds)


def _seconds(run: Run, name: str) -> float:
    """Return how long a judge took: for its evaluation, for columns, and for verdicts on policies."""
    opened = {scorer_stage(run, name, seed).key for seed in run.recipe.seeds}
    seconds = 0.0
    for stage in run.stages.values():
        seconds += stage.manifest.get("judges", {}).get(name, 0.0)
        if stage.key in opened or stage.inputs.get("scorer") in opened:
            seconds += stage.manifest["cost"]["seconds"]
    return seconds
