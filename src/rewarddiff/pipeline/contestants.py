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
from rewarddiff.data.named import check_given_once, check_named
from rewarddiff.data.outputs import Output, Outputs, aligned, read_outputs
from rewarddiff.data.questions import Question, numbered, same_prompt
from rewarddiff.endpoints.addresses import served_model
from rewarddiff.errors import UserError, suggest
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import prepare
from rewarddiff.pipeline.engines import engine_of
from rewarddiff.pipeline.judging import held_out
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.pipeline.stage import Stage
from rewarddiff.pipeline.verdicts import Answers
from rewarddiff.results import read_results, results_folder
from rewarddiff.sampling import SamplingConfig
from rewarddiff.sampling.conversations import conversations
from rewarddiff.sealed import require_as_written
from rewarddiff.store import Store


@dataclass(frozen=True)
class Contestant:
    """A policy as a command names it.

    Attributes:
        text: that names it. name: in results.
        outputs: that a file holds; None: it is no file.
        run, policy: of a run, and the policy's folder name there (dpo-0).
        model: what can be asked prompts: a folder, a hub name, MODEL@URL; None of a file.
    """

    text: str
    name: str
    outputs: Outputs | None = None
    run: Path | None = None
    policy: str = ""
    model: str | None = None


def contestants(texts: Sequence[str], questions: Sequence[Question] = ()) -> list[Contestant]:
    """Return the policies that these texts name, under names of which no two are the same.

    Args:
        questions: those that are asked; MT-Bench's answers need them.

    Raises:
        UserError: one names no policy, or is given twice.
    """
    check_given_once(texts, "name every policy once")
    named = [contestant(text, questions) for text in texts]
    check_names_of_servers([one.model for one in named if one.model is not None])
    counts = Counter(one.name for one in named)
    distinct = []
    for one in named:
        is_alone = counts[one.name] == 1
        distinct.append(one if is_alone else replace(one, name=one.text))
    return distinct


def check_names_of_servers(texts: Iterable[str]) -> None:
    """Refuse one name of two servers' models, whose answers would be kept as one's.

    Args:
        texts: that name policies; those that are MODEL@URL count.

    Raises:
        UserError: two have the same name.
    """
    firsts: dict[str, str] = {}
    for text in texts:
        served = served_model(text)
        if served is None:
            continue
        model, _ = served
        first = firsts.setdefault(model, text)
        if first != text:
            raise UserError(
                f"{text}: has the same name as {first}, and answers are kept under it; have one "
                "of the servers give its model another name"
            )


def contestant(text: str, questions: Sequence[Question] = ()) -> Contestant:
    """Return the policy that a text names.

    It is a file of outputs, the folder of a model or its hub name, a policy of a run (RUN:NAME, or
    RUN where it has one), or a model behind a server (MODEL@URL).

    Raises:
        UserError: it names none.
    """
    served = served_model(text)
    if served is not None:
        model, _ = served
        return Contestant(text, model, model=text)
    path = user_path(text)
    if path.is_file():
        outputs = replace(read_outputs(path, questions), source=text)
        return Contestant(text, outputs.name, outputs)
    run, _, policy = text.rpartition(":")
    if run and not path.exists() and _is_run(user_path(run)):
        return _of_run(text, user_path(run), policy)
    if _is_run(path) and not (path / "config.json").is_file():
        return _of_run(text, path, "")
    if run and "@" not in text and not path.exists():
        what = "holds no run" if user_path(run).exists() else "no such run"
        raise UserError(f"{run}: {what}; a policy of a run is named RUN:POLICY")
    check_named(text)
    models.resolve(text)
    return Contestant(text, name_of(text), model=text)


def _is_run(folder: Path) -> bool:
    return (results_folder(folder) / "policies").is_dir()


def _of_run(text: str, folder: Path, policy: str) -> Contestant:
    """Return a policy of a run, by its name or, with its seed, by that of its folder."""
    folder = results_folder(folder)
    recipe = recipe_of(folder)
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
    if served_model(model) is None:
        models.resolve(model)
    return Contestant(text, policy, run=folder, policy=places[policy], model=model)


def recipe_of(run: Path) -> Recipe:
    """Return the recipe of a finished run. Raises UserError."""
    settings = read_results(run).recipe
    if settings is None:
        raise UserError(f"{run}: holds an evaluation and no run; name a run, a model or outputs")
    return load_recipe(settings, [], Recipe)


# --- what they answered ---------------------------------------------------------------------------


def answers_of(
    named: Sequence[Contestant],
    questions: Sequence[Question],
    config: SamplingConfig,
    *,
    store: Store,
    limit: int | None = None,
) -> Answers:
    """Return what all policies answered to the same prompts.

    Args:
        questions: empty: the prompts are those of the policies that bring answers with them, a
            file's or a run's to its held-out prompts.
        config: how models answer that are to be asked.
        limit: at most so many prompts, where the policies bring them.

    Raises:
        UserError: no prompts are known, or the policies did not answer the same.
    """
    given = [_given(one, asked=bool(questions)) for one in named]
    if not questions:
        brought = [outputs for outputs in given if outputs is not None]
        questions = _questions_of(brought, limit)
    sets = [_of_questions(questions)]
    for one, outputs in zip(named, given, strict=True):
        if outputs is None:
            assert one.model is not None
            outputs = sampled(one.model, questions, config, store=store, name=one.name)
        sets.append(_asked_for(outputs, questions))
    groups = []
    for group in aligned(sets):
        groups.append(group.take(range(1, len(sets))))
    return Answers(tuple(one.name for one in named), tuple(groups))


def _given(one: Contestant, *, asked: bool) -> Outputs | None:
    """Return what a policy has answered already; None: it is to be asked.

    Args:
        asked: whether there are questions, which a run has not answered yet.
    """
    if one.run is not None and not asked:
        return _samples_of_run(one, one.run)
    return one.outputs


def _questions_of(brought: Sequence[Outputs], limit: int | None) -> list[Question]:
    """Return the prompts that policies bring with their answers, all of them the same ones."""
    if not brought:
        raise UserError("no prompts: name a file of them with --data, for the models to answer")
    aligned(brought)
    questions = [Question(output.prompt, place=output.place) for output in brought[0].outputs]
    return questions[:limit]


def _of_questions(questions: Sequence[Question]) -> Outputs:
    """Return what is asked in the form of answers, to be held against those."""
    asked = [Output(question.shown, "", question.place) for question in questions]
    return Outputs("", questions[0].place.rpartition(":")[0] or "the prompts", tuple(asked))


def _asked_for(outputs: Outputs, questions: Sequence[Question]) -> Outputs:
    """Return the outputs to these questions alone; of equal prompts, the first ones."""
    left = Counter(same_prompt(question.shown) for question in questions)
    chosen = []
    for output in outputs.outputs:
        prompt = same_prompt(output.prompt)
        if left[prompt]:
            left[prompt] -= 1
            chosen.append(output)
    return replace(outputs, outputs=tuple(chosen))


def _samples_of_run(one: Contestant, folder: Path) -> Outputs | None:
    """Return the answers that a run has drawn to its held-out prompts; None: it has drawn none.

    Raises:
        UserError: they are not as they were drawn.
    """
    place = folder / "samples" / one.policy
    if not Stage.found(place):
        return None
    require_as_written(place / "samples.json")
    groups = held_out(prepare(recipe_of(folder), folder, again=True))
    samples = json.loads((place / "samples.json").read_text("utf-8"))
    outputs = []
    for group, drawn in zip(groups, samples, strict=True):
        outputs.append(Output(group.prompt, drawn["text"], group.source))
    return Outputs(one.name, one.text, tuple(outputs))


def sampled(
    model: str,
    questions: Sequence[Question],
    config: SamplingConfig,
    *,
    store: Store,
    name: str,
) -> Outputs:
    """Return a model's answers to questions; of several turns, each behind the answers before it."""
    answers = conversations(
        engine_of(model, config.engine),
        [question.prompt for question in questions],
        [question.later for question in questions],
        config,
        rows=[question.place for question in questions],
        store=store,
        name=f"answers of {name}",
    )
    outputs = []
    for question, drawn in zip(questions, answers, strict=True):
        turns = [sample.text for sample in drawn]
        outputs.append(Output(question.shown, numbered(turns), question.place))
    return Outputs(name, model, tuple(outputs))
