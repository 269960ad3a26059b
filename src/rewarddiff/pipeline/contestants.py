"""Policies that a command names: files of outputs, runs, models to be sampled; and their answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewarddiff import models
from rewarddiff.config import load_recipe
from rewarddiff.data.files import name_of
from rewarddiff.data.formats.conversations import spoken_prompt
from rewarddiff.data.outputs import Output, Outputs, aligned, read_outputs
from rewarddiff.data.questions import Question, numbered, read_questions, same_prompt
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError, suggest
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import prepare
from rewarddiff.pipeline.judging import held_out
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.pipeline.stage import Stage
from rewarddiff.pipeline.verdicts import Answers
from rewarddiff.records import Message
from rewarddiff.results import read_results, results_folder
from rewarddiff.sampling import SamplingConfig, sample
from rewarddiff.store import Store


@dataclass(frozen=True)
class Contestant:
    """A policy as a command names it.

    Attributes:
        text: that names it. name: in results.
        file: of its outputs. run, policy: of a run, and the policy's folder name there (dpo-0).
        model: what can be asked further prompts: a folder, a hub name, MODEL@URL; None of a file.
    """

    text: str
    name: str
    file: Path | None = None
    run: Path | None = None
    policy: str = ""
    model: str | None = None


def contestants(texts: Sequence[str]) -> list[Contestant]:
    """Return the policies that these texts name, under names of which no two are the same.

    Raises:
        UserError: one names no policy, or is given twice.
    """
    for text, times in Counter(texts).items():
        if times > 1:
            raise UserError(f"{text}: given {times} times; name every policy once")
    named = [contestant(text) for text in texts]
    counts = Counter(one.name for one in named)
    distinct = []
    for one in named:
        is_alone = counts[one.name] == 1
        distinct.append(one if is_alone else replace(one, name=one.text))
    return distinct


def contestant(text: str) -> Contestant:
    """Return the policy that a text names.

    It is a file of outputs, the folder of a model or its hub name, a policy of a run (RUN:NAME, or
    RUN where it has one), or a model behind a server (MODEL@URL).

    Raises:
        UserError: it names none.
    """
    if "@http" in text:
        return Contestant(text, text.partition("@")[0], model=text)
    path = user_path(text)
    if path.is_file():
        return Contestant(text, read_outputs(path).name, file=path)
    run, _, policy = text.rpartition(":")
    if run and not path.exists() and _is_run(user_path(run)):
        return _of_run(text, user_path(run), policy)
    if _is_run(path) and not (path / "config.json").is_file():
        return _of_run(text, path, "")
    models.resolve(text)
    return Contestant(text, name_of(text), model=text)


def _is_run(folder: Path) -> bool:
    return (results_folder(folder) / "policies").is_dir()


def _of_run(text: str, folder: Path, policy: str) -> Contestant:
    """Return a policy of a run, by its name or, with its seed, by that of its folder."""
    folder = results_folder(folder)
    recipe = _recipe(folder)
    seed = recipe.seeds[0]
    places = {BASE: BASE}
    for name in recipe.trained_here:
        for other in reversed(recipe.seeds):
            places[f"{name}-{other}"] = f"{name}-{other}"
        places[name] = f"{name}-{seed}"
    places |= {name: name for name in recipe.trained_elsewhere}
    if not policy and len(recipe.policies) == 1:
        (policy,) = recipe.policies
    if not policy:
        names = ", ".join([BASE, *recipe.policies])
        raise UserError(
            f"{text}: a run of several policies; name one of them, as {folder}:NAME ({names})"
        )
    if policy not in places:
        raise UserError(f"{text}: the run has no policy '{policy}'{suggest(policy, places)}")
    given = {BASE: recipe.model, **recipe.trained_elsewhere}
    model = given.get(policy) or str(folder / "policies" / places[policy] / "model")
    models.resolve(model)
    return Contestant(text, policy, run=folder, policy=places[policy], model=model)


def _recipe(run: Path) -> Recipe:
    settings = read_results(run).recipe
    if settings is None:
        raise UserError(f"{run}: holds an evaluation and no run; name a run, a model or outputs")
    return load_recipe(settings, [], Recipe)


# --- what they answered ---------------------------------------------------------------------------


def answers_of(
    named: Sequence[Contestant],
    data: str | None,
    config: SamplingConfig,
    *,
    store: Store,
    limit: int | None = None,
) -> Answers:
    """Return what all policies answered to the same prompts.

    Args:
        data: the prompts; None: those of the first policy that brings its own, a file's or a run's
            held-out ones.
        config: how models answer that are to be asked.
        limit: at most so many prompts.

    Raises:
        UserError: no prompts are known, or the policies did not answer the same.
    """
    questions = []
    if data is not None:
        questions = read_questions(data, limit=limit)
    given = {one.name: _given(one, questions) for one in named}
    if data is None:
        questions = _questions_of(given.values(), limit)
    sets = []
    for one in named:
        outputs = given[one.name]
        if outputs is None:
            assert one.model is not None
            outputs = sampled(one.model, questions, config, store=store, name=one.name)
        sets.append(replace(_asked_for(outputs, questions), source=one.text))
    return Answers(tuple(one.name for one in named), tuple(aligned(sets)))


def _given(one: Contestant, questions: Sequence[Question]) -> Outputs | None:
    """Return what a policy has answered already; None: it is to be asked."""
    if one.file is not None:
        return read_outputs(one.file, questions)
    if one.run is not None and not questions:
        return _samples_of_run(one, one.run)
    return None


def _samples_of_run(one: Contestant, folder: Path) -> Outputs | None:
    """Return the answers that a run has drawn to its held-out prompts; None: it has drawn none."""
    place = folder / "samples" / one.policy
    if not Stage.found(place):
        return None
    groups = held_out(prepare(_recipe(folder), folder, again=True))
    samples = json.loads((place / "samples.json").read_text("utf-8"))
    outputs = []
    for group, sample in zip(groups, samples, strict=True):
        outputs.append(Output(group.prompt, sample["text"], group.source))
    return Outputs(one.name, one.text, tuple(outputs))


def _questions_of(given: Iterable[Outputs | None], limit: int | None) -> list[Question]:
    """Return the prompts of the first policy that brings answers with it."""
    for outputs in given:
        if outputs is not None:
            questions = [Question(o.prompt, place=o.place) for o in outputs.outputs]
            return questions[:limit]
    raise UserError("no prompts: name a file of them with --data, for the models to answer")


def _asked_for(outputs: Outputs, questions: Sequence[Question]) -> Outputs:
    """Return the outputs to these questions alone."""
    shown = {same_prompt(question.shown) for question in questions}
    chosen = [output for output in outputs.outputs if same_prompt(output.prompt) in shown]
    return replace(outputs, outputs=tuple(chosen))


def sampled(
    model: str,
    questions: Sequence[Question],
    config: SamplingConfig,
    *,
    store: Store,
    name: str,
) -> Outputs:
    """Return a model's answers to questions, each turn behind the answers before it."""
    prompts = [question.prompt for question in questions]
    answered: list[list[str]] = [[] for _ in questions]
    folder = models.resolve(model)
    causal, tokenizer = models.load_causal_lm(folder)
    causal = causal.to(models.device())  # type: ignore[arg-type]
    encoder = Encoder(tokenizer, LengthConfig(max_response=1), models.context_length(folder))
    weights = models.fingerprint(folder)
    for turn in range(1 + max(len(question.later) for question in questions)):
        places = [i for i, question in enumerate(questions) if len(question.later) >= turn]
        drawn = sample(
            causal,
            encoder,
            [prompts[place] for place in places],
            config,
            weights=weights,
            store=store,
            name=f"answers of {name}",
        )
        for place, response in zip(places, drawn, strict=True):
            answered[place].append(response.text)
            later = questions[place].later
            if turn < len(later):
                prompts[place] = (
                    *spoken_prompt(prompts[place]),
                    Message("assistant", response.text),
                    Message("user", later[turn]),
                )
    outputs = []
    for question, turns in zip(questions, answered, strict=True):
        outputs.append(Output(question.shown, numbered(turns), question.place))
    return Outputs(name, model, tuple(outputs))
