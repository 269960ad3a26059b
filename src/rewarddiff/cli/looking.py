"""Data and models that a command names, looked for before anything heavy is imported."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from rewarddiff.paths import run_folder, sweep_folder, user_path


def look_first(args: Namespace) -> None:
    """Look for what a command names before what reads it is imported, which takes seconds.

    Raises:
        UserError: there is no such recipe, data or model.
    """
    if "torch" in sys.modules:  # nothing to be gained: each command looks for itself
        return
    _look_at_output(args)
    from rewarddiff.data.sources import require

    if args.command == "judge":
        _look_at_contest(args)
    if args.command in ("run", "sweep", "plan"):
        data, models_by_key = _named_in_recipe(args)
        if data is not None:
            require(data)
        for key, name in models_by_key.items():
            _look_at_model(name, f"{key}: ")
    else:
        sources, names = _named(args)
        for source in sources:
            require(source)
        for name in names:
            _look_at_model(name)


def _look_at_model(name: str, place: str = "") -> None:
    """Look for a model or scorer. Raises UserError, which begins with where the name stands."""
    from rewarddiff import models
    from rewarddiff.data.named import check_named
    from rewarddiff.errors import UserError
    from rewarddiff.scorers.opening import WORDS, is_model

    if name in models.KNOWN or not is_model(name):
        return
    try:
        check_named(name, WORDS)
        models.resolve(name)
    except UserError as error:
        raise UserError(f"{place}{error}") from error


def _look_at_output(args: Namespace) -> None:
    """Look whether another process writes where this command is going to."""
    from rewarddiff.outputs import require_unheld

    output = None if getattr(args, "print", False) else output_of(args)
    if output is not None:
        require_unheld(user_path(output))


def output_of(args: Namespace) -> Path | None:
    """Return what a command writes, by its arguments or its recipe; None where these do not tell."""
    if getattr(args, "output", None):
        return Path(args.output)
    if args.command in ("demo", "run", "sweep"):
        return _output_of_recipe(args)
    if args.command in ("train", "eval", "bestof", "lab"):
        return default_output(args)
    return None


def default_output(args: Namespace) -> Path:
    """Return the folder of a command that was given none."""
    from rewarddiff.data.files import name_of

    name: str
    match args.command:
        case "train":
            name = args.kind
        case "eval":
            name = f"eval-{name_of(args.paths[-1])}"
        case "lab":
            name = "-".join(["lab", *args.worlds])
        case _:
            name = args.command
    return Path("runs") / name


def _output_of_recipe(args: Namespace) -> Path | None:
    from rewarddiff.cli.commands import DEMO
    from rewarddiff.config import read_recipe
    from rewarddiff.config.written import parse

    recipe = read_recipe(getattr(args, "recipe", DEMO))
    overridden = {}
    for override in args.overrides:
        key, equals, written = override.partition("=")
        if equals and key.strip() in ("output", "name"):
            overridden[key.strip()] = parse(written, f"override '{override}'")
    named = {"output": recipe.get("output"), "name": recipe.get("name"), **overridden}
    if not isinstance(named["output"] or named["name"], str):
        return None
    folder = run_folder(named["name"], named["output"])
    if args.command == "sweep" and "output" not in overridden:
        folder = sweep_folder(folder)
    return folder


def _look_at_contest(args: Namespace) -> None:
    """Look at what `judge` holds together: how many there are, and files that are not there."""
    from rewarddiff.data.named import check_contest, check_named
    from rewarddiff.scorers.opening import WORDS

    check_contest(args.policies, args.judge, people=bool(args.people), attack=args.attack)
    for policy in args.policies:
        if "@http" not in policy:
            check_named(policy)
    for judge in args.judge:
        if "@http" not in judge:
            check_named(judge, WORDS)


def _named(args: Namespace) -> tuple[list[str], list[str]]:
    """Return the data that a command's arguments name, and the models and scorers."""
    data: list[str] = []
    names: list[str] = []
    if args.command in ("eval", "designs"):
        *names, last = args.paths
        # The only path of `designs` is a run's folder.
        if names or args.command == "eval":
            data = [last]
    elif getattr(args, "data", None):
        data = args.data if isinstance(args.data, list) else [args.data]
    for option in ("scorer", "model", "gold"):
        value = getattr(args, option, None)
        if isinstance(value, list):
            names += value
        elif value:
            names.append(value)
    return data, names


def _named_in_recipe(args: Namespace) -> tuple[str | None, dict[str, str]]:
    """Return the data that a recipe names, and its models by their keys, by what its overrides leave of it.

    What else an override changes is left to the recipe's reader.

    Raises:
        UserError: the recipe is not there, or no YAML.
    """
    from rewarddiff.config import read_recipe
    from rewarddiff.config.overrides import expanded

    recipe = read_recipe(args.recipe)
    named = _names_by_key(recipe)
    for given in args.overrides:
        for override in expanded(recipe, given):
            changed, _, value = override.partition("=")
            for key in list(named):
                if f"{key}.".startswith(f"{changed}."):
                    del named[key]
            # A sweep's several values are left to it.
            is_several = args.command == "sweep" and "," in value
            if changed == "data.path" and not is_several and not value.startswith(("[", '"', "'")):
                named[changed] = value
    names = {key: name for key, name in named.items() if isinstance(name, str) and name}
    return names.pop("data.path", None), names


def _names_by_key(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return what stands under the keys of a recipe that name data or a model; nothing is checked."""
    named = {"model": recipe.get("model")}
    data = recipe.get("data")
    if isinstance(data, dict):
        named["data.path"] = data.get("path")
    scorers = recipe.get("scorers")
    if isinstance(scorers, dict):
        for name, scorer in scorers.items():
            if isinstance(scorer, dict):
                named[f"scorers.{name}.backbone"] = scorer.get("backbone")
                named[f"scorers.{name}.trained"] = scorer.get("trained")
    policies = recipe.get("policies")
    if isinstance(policies, dict):
        for name, policy in policies.items():
            if isinstance(policy, dict):
                named[f"policies.{name}.trained"] = policy.get("trained")
    return named
