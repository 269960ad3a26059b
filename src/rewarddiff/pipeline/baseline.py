"""A baseline: responses of a policy to each prompt, scored once, for contrastive rewards.

The iterative variant of the paper draws them again from the current policy: the same command with
another model. Whatever was drawn and scored before is kept beside the output, by what determines it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rewarddiff import files
from rewarddiff.chat_template import untemplated
from rewarddiff.config import at_least, load_recipe, positive
from rewarddiff.data.columns import Columns
from rewarddiff.data.questions import Question, read_questions
from rewarddiff.differences import Array
from rewarddiff.errors import UserError
from rewarddiff.evaluation.histograms import distribution
from rewarddiff.evaluation.intraclass import interval_between
from rewarddiff.outputs import store_beside
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import file_made_of
from rewarddiff.pipeline.engines import engine_of
from rewarddiff.processes import once, shared
from rewarddiff.records import Group, plain_prompt
from rewarddiff.remembering import open_store
from rewarddiff.report.baseline import BaselineSummary, PromptExample, render_baseline
from rewarddiff.results import Distribution, Histogram, Interval
from rewarddiff.rewards.difficulty import difficulty
from rewarddiff.sampling import Engine, Sample, SamplingConfig
from rewarddiff.sampling.engines import Here
from rewarddiff.sampling.options import AnyEngine, Transformers
from rewarddiff.sampling.several import Temperature, several
from rewarddiff.sampling.vllm import VLLMEngine
from rewarddiff.scorers.opening import GRADES, fingerprint_of, open_scorer
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.store import Store, finite

SHOWN = 5
"""Prompts on the page, of the hardest and of the easiest."""


@dataclass(frozen=True)
class BaselineConfig:
    """What is drawn.

    Attributes:
        k: responses to each prompt. The first ones of a larger k are those of a smaller one.
        limit: at most so many prompts.
        max_prompt: tokens; a longer prompt keeps its end, as in training.
        stop: texts before which a response is cut.
        batch_size: prompts that are continued side by side by transformers; vLLM chooses by itself.
        seed: of sampling, together with the prompt.
        engine: what continues the prompts, where the model is read here.
    """

    k: int = 3
    temperature: float = 1.0
    max_new_tokens: int = 128
    limit: int | None = None
    max_prompt: int | None = None
    stop: tuple[str, ...] = SamplingConfig.stop
    batch_size: int = 16
    seed: int = 0
    engine: AnyEngine = field(default_factory=Transformers)

    def __post_init__(self) -> None:
        at_least(self, 1, "k", "max_new_tokens", "limit", "max_prompt", "batch_size")
        positive(self, "temperature")


def baseline_stage(
    prompts: str | Path,
    model: str | Path,
    scorer: str | Path,
    output: str | Path,
    overrides: Sequence[str] = (),
    **reading: Any,
) -> BaselineSummary:
    """Run `draw_baseline` with options of `BaselineConfig` as `key=value`."""
    config = load_recipe({}, overrides, BaselineConfig)
    return draw_baseline(prompts, model, scorer, output, config, **reading)


@shared()
def draw_baseline(
    prompts: str | Path,
    model: str | Path,
    scorer: str | Path,
    output: str | Path,
    config: BaselineConfig | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
) -> BaselineSummary:
    """Write one JSON line per prompt with k responses, and a page on how hard the prompts are.

    A scorer that scores no response by itself (a difference model, a judge) is asked nothing: the
    responses are written without scores, for `contrastive_difference`.

    What was drawn and scored is kept in `output` + ".store.sqlite", so that an interrupted run goes
    on, and another model's responses are another key.

    Args:
        prompts: rows with prompt, or preference data, see `data.questions.read_questions`.
        model: a folder, a hub name, or MODEL@URL.
        output: a file named .jsonl; the page lies beside it.
        format, split, columns: see `data.questions.read_questions`.

    Raises:
        UserError: nothing to read, a model or scorer that is none, no response with a score.
    """
    config = config or BaselineConfig()
    output = user_path(output)
    with file_made_of(prompts, output, split, held=True):
        _check(scorer, output)
        questions = read_questions(
            prompts, limit=config.limit, format=format, split=split, columns=columns
        )
        _check_single_turns(questions)
        engine = engine_of(str(model), config.engine, max_prompt=config.max_prompt)
        opened = open_scorer(scorer)
        named = Named(str(prompts), str(model), str(scorer), fingerprint_of(scorer))
        with open_store(store_beside(output)) as store:
            return write_baseline(output, engine, opened, questions, config, store, named)


class Named(NamedTuple):
    """What a baseline is of, as its page and its rows have it.

    Attributes:
        fingerprint: of the scorer; empty: not known.
    """

    data: str
    model: str
    scorer: str
    fingerprint: str


def write_baseline(
    output: Path,
    engine: Engine,
    scorer: Scorer,
    questions: Sequence[Question],
    config: BaselineConfig,
    store: Store,
    named: Named,
) -> BaselineSummary:
    """Draw and score responses, and write the file and its page: see `draw_baseline`."""
    samples = _samples(engine, questions, config, store)
    groups = _groups(questions, samples)
    scores = _scores(scorer, groups, store)
    summary = _summary(named, groups, samples, scores, _texts(engine, groups))
    return once(lambda: _written(output, named, groups, samples, scores, summary))


def _texts(engine: Engine, groups: Sequence[Group]) -> int:
    """Count the prompts that are read as they stand by a model with a template; a server has its own."""
    if not isinstance(engine, Here | VLLMEngine):
        return 0
    return untemplated(engine.encoder.tokenizer, (group.prompt for group in groups))


def _written(
    output: Path,
    named: Named,
    groups: Sequence[Group],
    samples: Sequence[Sequence[Sample]],
    scores: Array | None,
    summary: BaselineSummary,
) -> BaselineSummary:
    identity = "" if scores is None else named.fingerprint
    of_all = {"model": named.model, "scorer": identity}
    rows = [row | of_all for row in _rows(groups, samples, scores)]
    render_baseline(output.with_suffix(".html"), summary)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    files.write_text(output, "".join(lines))
    return summary


def _check(scorer: str | Path, output: Path) -> None:
    if output.suffix != ".jsonl":
        raise UserError(f"{output}: a baseline is JSON Lines; give it a name that ends in .jsonl")
    if scorer == GRADES:
        raise UserError("grades are the data's own, and what is drawn has none: name a scorer")


def _check_single_turns(questions: Sequence[Question]) -> None:
    for question in questions:
        if question.later:
            raise UserError(
                f"{question.place}: a question of several turns, and a baseline is of one answer; "
                "write each turn as a prompt of its own"
            )


def _samples(
    engine: Engine, questions: Sequence[Question], config: BaselineConfig, store: Store
) -> list[list[Sample]]:
    """Draw k responses to each prompt; what is stored is not drawn again."""
    draw = Temperature(
        k=config.k, temperature=config.temperature, max_new_tokens=config.max_new_tokens
    )
    sampling = SamplingConfig(
        stop=config.stop, batch_size=config.batch_size, seed=config.seed, engine=config.engine
    )
    return several(
        engine,
        [question.prompt for question in questions],
        draw,
        sampling,
        rows=[question.place for question in questions],
        store=store,
    )


def _groups(questions: Sequence[Question], samples: Sequence[Sequence[Sample]]) -> list[Group]:
    groups = []
    for question, drawn in zip(questions, samples, strict=True):
        responses = tuple(sample.text for sample in drawn)
        groups.append(Group(question.place, question.prompt, responses, source=question.place))
    return groups


def _scores(scorer: Scorer, groups: Sequence[Group], store: Store) -> Array | None:
    """Return r of every response, (prompts, k); None of a scorer that has none.

    Raises:
        UserError: no response got a finite score.
    """
    if not isinstance(scorer, Pointwise):
        return None
    scores = np.stack(scorer.rewards(groups, store=store, progress="scores"))
    if not np.isfinite(scores).any():
        raise UserError(
            f"{scorer.name}: gives none of {scores.size} responses a finite score; check the scorer "
            "with `rewarddiff score`"
        )
    return np.where(np.isfinite(scores), scores, np.nan)


def _rows(
    groups: Sequence[Group], samples: Sequence[Sequence[Sample]], scores: Array | None
) -> list[dict[str, Any]]:
    """Return the lines of the file; what is not known is null."""
    rows = []
    for group, drawn in zip(groups, samples, strict=True):
        ended = [sample.ended for sample in drawn]
        prompt = plain_prompt(group.prompt)
        rows.append({"prompt": prompt, "responses": list(group.responses), "ended": ended})
    if scores is None:
        return rows
    of = difficulty(scores)
    for place, row in enumerate(rows):
        row["scores"] = finite(scores[place])
        row["mean"] = finite(of.means[place])
        row["median"] = finite(of.medians[place])
        row["max"] = finite(of.maxima[place])
        row["std"] = finite(of.spreads[place])
    return rows


def _summary(
    named: Named,
    groups: Sequence[Group],
    samples: Sequence[Sequence[Sample]],
    scores: Array | None,
    texts: int,
) -> BaselineSummary:
    """Return what the baseline says of its prompts."""
    every = [sample for drawn in samples for sample in drawn]
    known = _OfScores() if scores is None else _of_scores(groups, samples, scores)
    return BaselineSummary(
        data=named.data,
        model=named.model,
        scorer=named.scorer,
        prompts=len(groups),
        k=len(samples[0]),
        cut=sum(not sample.ended for sample in every),
        empty=sum(not sample.text.strip() for sample in every),
        untemplated=texts,
        **vars(known),
    )


@dataclass(frozen=True)
class _OfScores:
    """What a summary says where responses were scored."""

    unscored: int = 0
    means: Distribution | None = None
    spreads: Distribution | None = None
    histograms: tuple[Histogram, ...] = ()
    between: Interval = field(default_factory=lambda: Interval.unbounded(math.nan))
    hardest: tuple[PromptExample, ...] = ()
    easiest: tuple[PromptExample, ...] = ()


def _of_scores(
    groups: Sequence[Group], samples: Sequence[Sequence[Sample]], scores: Array
) -> _OfScores:
    of = difficulty(scores)
    examples = []
    for place in np.argsort(of.means, kind="stable").tolist():
        if np.isfinite(of.means[place]):
            group = groups[place]
            examples.append(
                PromptExample(
                    prompt=group.prompt,
                    responses=group.responses,
                    scores=tuple(scores[place].tolist()),
                    ended=tuple(sample.ended for sample in samples[place]),
                    mean=float(of.means[place]),
                    spread=float(of.spreads[place]),
                )
            )
    shown = min(SHOWN, len(examples) // 2)
    return _OfScores(
        unscored=int(np.isnan(scores).sum()),
        means=distribution(of.means),
        spreads=distribution(of.spreads),
        histograms=(_histogram(of.means), _histogram(of.spreads)),
        between=interval_between(scores),
        hardest=tuple(examples[:shown]),
        easiest=tuple(examples[::-1][:shown]),
    )


def _histogram(values: Array) -> Histogram:
    """Return counts of what is finite, in as many bins as Rice's rule has for so many prompts."""
    values = values[np.isfinite(values)]
    bins = math.ceil(2 * np.cbrt(max(values.size, 1)))
    counts, edges = np.histogram(values, bins)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), int((values < 0).sum()))
