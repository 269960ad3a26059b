"""What the command line and Python call: a whole recipe, or one stage by itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewarddiff import models
from rewarddiff.config import load_recipe
from rewarddiff.config.elsewhere import called_here
from rewarddiff.data import Ledger
from rewarddiff.data.groups import digest_of
from rewarddiff.differences import Array
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError, suggest
from rewarddiff.evaluation.comparisons import compare, require_scored
from rewarddiff.hashing import digest
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.machine import Meter
from rewarddiff.models.cards import Facts
from rewarddiff.outputs import folder_for, refuse_links, run_folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.placing import check_model_place, check_place, complete, place
from rewarddiff.pipeline.planning import check_policys_rows, check_scorers_rows
from rewarddiff.pipeline.policy_recipe import PolicyRecipe
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.results import gather
from rewarddiff.pipeline.run import carry_out
from rewarddiff.pipeline.scorer_recipe import ScorerRecipe
from rewarddiff.pipeline.scorers import held_out_calibration, measure, save_trained_scorer
from rewarddiff.pipeline.stage import write_results
from rewarddiff.policies import policy as policies
from rewarddiff.policies.items import Pairs
from rewarddiff.policies.objectives import BY_NAME
from rewarddiff.policies.policy import PolicyConfig, save_trained, start_of
from rewarddiff.policies.table import item_table
from rewarddiff.processes import once, shared
from rewarddiff.records import Group
from rewarddiff.report import render, terminal_table
from rewarddiff.results import Evaluation, read_results, results_folder
from rewarddiff.scorers.neural import train as scorers_train
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.writing import console, say

logger = logging.getLogger(__name__)

Coefficients = Sequence[float] | Array
"""The weights of a group's comparisons."""

SCORERS = ("reward", "difference")
"""What `train` makes that is no policy."""


@shared()
def run_recipe(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Path:
    """Carry out a recipe and return the run's folder.

    `results.json` and `report.html` are written there, and the tables printed.
    """
    config = load_recipe(recipe, list(overrides), Recipe)
    config.check()
    with run_folder_for(config.folder):
        _run(config)
    return config.folder


def _run(config: Recipe) -> None:
    with Meter() as meter:
        run = carry_out(config, config.folder)
        once(lambda: _report(run, meter))


def _report(run: Run, meter: Meter) -> None:
    """Write the results and the page of a run that is carried out, and print its tables."""
    results = replace(gather(run), seconds=meter.seconds)
    write_results(run.output, results)
    report_stage(run.output)
    console().print(terminal_table(results))
    if not run.made:
        say(f"{run.output}: all of it was there already, nothing was left to do")


@shared()
def train_scorer(
    config: ScorerConfig,
    train: Sequence[Group],
    dev: Sequence[Group] = (),
    *,
    output: str | Path,
    seed: int = 0,
) -> NeuralScorer:
    """Train a scorer on labelled groups; it is saved in `output/model`.

    Metrics and checkpoints go to `output`. Where there are dev groups its temperature is fitted on them.

    Raises:
        UserError: `output/model` is a model that training starts from, or a policy; another
            training writes to `output`; a row has no room in memory by itself; or as
            `scorers.neural.train`.
    """
    folder = user_path(output)
    starts = [config.backbone]
    if config.warm_start is not None:
        starts.insert(0, config.warm_start)
    once(lambda: check_model_place(folder, starts, scorer=True))
    once(lambda: check_scorers_rows(config, train, dev))
    with run_folder_for(folder):
        scorer, _ = scorers_train.train_scorer(config, train, dev, output=folder, seed=seed)
        if dev:
            calibration = held_out_calibration(scorer, dev)
            scorer.temperature = calibration.temperature
            if calibration.remark:
                logger.warning("%s: %s", folder / "model", calibration.remark)
        save_trained_scorer(scorer, folder)
        once(lambda: complete(folder))
    return scorer


def evaluate(scorer: Scorer, groups: Sequence[Group]) -> Evaluation:
    """Return every figure of a scorer on labelled groups, see `evaluation.scorers`."""
    comparisons = compare(scorer, groups)
    require_scored(scorer, comparisons)
    return measure(comparisons, scorer.temperature)


def train_policy(
    model: str | Path,
    train: Sequence[Group],
    coefficients: Sequence[Coefficients] | None = None,
    *,
    output: str | Path,
    config: PolicyConfig | None = None,
    lengths: LengthConfig | None = None,
    seed: int = 0,
) -> Path:
    """Train a policy on labelled groups, and return its Hugging Face folder `output/model`.

    Objective kto also learns from responses that are labelled by themselves, each with weight 1.

    Args:
        model: the starting point, which is also the reference.
        coefficients: for every group, one weight for each of its `known_comparisons()`, as `weigh`
            gives them; None: all 1. Ties are left out of training whatever their weight.

    Raises:
        UserError: `output/model` is a model that training starts from, or a scorer; another
            training writes to `output`; a row has no room in memory by itself; groups and
            coefficients, or model and options, do not go together.
    """
    config, folder = config or PolicyConfig(), user_path(output)
    lengths = lengths or LengthConfig()
    once(lambda: check_model_place(folder, [model], scorer=False))
    once(lambda: check_policys_rows(model, config, lengths, train, _with_pairs))
    with run_folder_for(folder):
        policy, tokenizer = _trained_policy(
            model, train, coefficients, folder, config, lengths, seed
        )
        save_trained(
            policy,
            tokenizer,
            folder,
            config.lora,
            facts=Facts(base=str(model), counts={"prompts": len(train)}),
            objective=config.objective.name,
        )
        once(lambda: complete(folder))
    return folder / "model"


def _trained_policy(
    model: str | Path,
    train: Sequence[Group],
    coefficients: Sequence[Coefficients] | None,
    folder: Path,
    config: PolicyConfig,
    lengths: LengthConfig,
    seed: int,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model after training, which no folder holds yet, and its tokenizer."""
    policy, tokenizer = start_of(model, config, seed)
    encoder = Encoder(tokenizer, lengths, models.context_length(model))
    objective = config.objective
    if coefficients is not None and not objective.compares:
        raise UserError(
            f"coefficients: objective {objective.name} learns single responses and has no use "
            "for them; leave it out"
        )
    objective.check(train)
    items = item_table(
        objective,
        _with_pairs(train, coefficients),
        encoder,
        Ledger(),
        cache=folder / "cache",
        made_from=(digest_of(train), _digest_of_weights(coefficients)),
    )
    policies.train_policy(
        policy,
        items,
        config,
        output=folder,
        weights=models.fingerprint(model),
        seed=seed,
        name="policy",
    )
    return policy, tokenizer


def _digest_of_weights(coefficients: Sequence[Coefficients] | None) -> str:
    """Return a hash of the weights of comparisons; empty where there are none."""
    if coefficients is None:
        return ""
    return digest(repr(list(map(float, weights))).encode() for weights in coefficients)


def _with_pairs(
    groups: Sequence[Group], coefficients: Sequence[Coefficients] | None = None
) -> Iterator[tuple[Group, Pairs]]:
    """Yield each group with its comparisons and their coefficients; ties are left out."""
    if coefficients is not None and len(coefficients) != len(groups):
        raise UserError(
            f"coefficients: {len(coefficients)} lists for {len(groups)} groups; "
            "give one list a group, with a weight for each of its known_comparisons()"
        )
    for i, group in enumerate(groups):
        pairs = Pairs.unweighted(list(group.known_comparisons()))
        if coefficients is not None:
            weights = tuple(float(weight) for weight in coefficients[i])
            _check_weights(group, pairs, weights)
            pairs = replace(pairs, coefficients=weights)
        yield group, pairs.where([not comparison.tie for comparison in pairs.comparisons])


def _check_weights(group: Group, pairs: Pairs, weights: Sequence[float]) -> None:
    """Raise a UserError unless there is a weight for each comparison of a group."""
    row = group.source or group.id
    if len(weights) != len(pairs.comparisons):
        raise UserError(f"{row}: {len(pairs.comparisons)} comparisons, {len(weights)} coefficients")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise UserError(f"{row}: coefficients {list(weights)} should be finite and not negative")


def report_stage(run: str | Path) -> Path:
    """Write a run's report from its `results.json`; of what `train` made, from that of its run."""
    run = results_folder(user_path(run))
    results = read_results(run)
    refuse_links(run)
    with folder_for(run):
        return render(results, run)


@shared()
def train_stage(
    kind: str,
    model: str,
    data: str | Path,
    output: str | Path,
    overrides: Sequence[str] = (),
    **reading: Any,
) -> Path:
    """Train one scorer (reward, difference) or policy (an objective by its name).

    The model lies in `output`; the run with its results and report lies beside it, in `output/run`.

    Overrides are of the scorer's or policy's own options (`train.lr=1e-5`, for short `lr=1e-5`;
    `objective.beta=0.2`, for short `beta=0.2`), or of the recipe (`seed=1`, `data.limit=100`,
    `lengths.max_prompt=256`).

    Args:
        reading: how data is read, see `load_groups`.
    """
    output = user_path(output)
    run = output / "run"
    recipe: dict[str, Any] = {"name": kind, "output": str(run)}
    if kind in SCORERS:
        splits = {"train": 0.8, "dev": 0.1, "test": 0.1}
        recipe["scorers"] = {kind: {"kind": kind, "backbone": model}}
        trained = run / "scorers"
    else:
        splits = {"train": 0.9, "dev": 0.1}
        recipe["model"] = model
        recipe["policies"] = {kind: {"objective": kind}}
        trained = run / "policies"
    recipe["data"] = {"path": str(data), "splits": splits, **reading}
    keys = _short_keys(kind)
    config = load_recipe(recipe, [_full(text, keys) for text in overrides], Recipe)
    config.check()
    if len(config.seeds) != 1:
        raise UserError("seed: train makes one model; give one seed, or use `rewarddiff run`")
    once(lambda: check_place(model, output))
    with run_folder_for(config.folder):
        _run(config)
        once(lambda: place(trained / f"{kind}-{config.seeds[0]}" / "model", output))
    return output


def _full(override: str, keys: Mapping[str, str]) -> str:
    """Return an override by its full name in the recipe; `keys` are those of `_short_keys`."""
    first = override.partition("=")[0].partition(".")[0]
    if first not in keys:
        ours = [key.rpartition(".")[2] for key in called_here(first)]
        mend = suggest(first, keys)
        if ours and set(ours) <= keys.keys():
            mend = f": it is called {' and '.join(ours)}"
        raise UserError(f"override '{override}': there is no key '{first}' here{mend}")
    return keys[first] + override


def _short_keys(kind: str) -> dict[str, str]:
    """Return what every key that `train` takes stands behind in the recipe.

    One of several meanings is the last one's here.
    """
    keys: dict[str, str] = {}
    if kind in SCORERS:
        place = f"scorers.{kind}."
        _add_keys(keys, ScorerRecipe, place)
    else:
        place = f"policies.{kind}."
        _add_keys(keys, BY_NAME[kind], f"{place}objective.")
        _add_keys(keys, PolicyRecipe, place)
    _add_keys(keys, TrainConfig, f"{place}train.")
    _add_keys(keys, Recipe, "")
    return keys


def _add_keys(keys: dict[str, str], config: Any, place: str) -> None:
    """Say that the fields of a configuration stand behind this place."""
    for field in fields(config):
        keys[field.name] = place
