"""`rewarddiff init`: a first recipe for one's data and model, which runs as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewarddiff import files, models
from rewarddiff.config import load_recipe
from rewarddiff.config.written import parse
from rewarddiff.data import Groups, Ledger, load_groups, split
from rewarddiff.data.files import name_of
from rewarddiff.errors import UserError
from rewarddiff.outputs import folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import print_losses
from rewarddiff.pipeline.data_look import DataLook, look, unlimited
from rewarddiff.pipeline.effort import Effort
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scorer_checks import NAME
from rewarddiff.records import Group

BACKBONE = "all-minilm-l6-v2"
"""The model of the scorers."""

MINUTES = 10
"""A first run should take no longer than about this."""

LIMITS = (50, 100, 200, 350, 500, 1000, 2000, 5000, 10_000)
"""How many prompts a first run may be limited to."""

MOST_COMPARISONS = (40, 20, 10)
"""Of one prompt, so that one long list is not the whole data; fewer where time is short."""

FEWEST = 10
"""Prompts, of which some can be held out."""

SPLITS = ({"train": 0.7, "dev": 0.1, "test": 0.2}, {"train": 0.6, "test": 0.4})
"""Shares, the first that give every split something to be made of."""

LABEL_SPLITS = ({"train": 0.85, "dev": 0.15}, {"train": 0.7, "dev": 0.3})
"""The same where nothing can be judged."""

NICE = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192)
"""Limits of tokens that are easily read."""


@dataclass(frozen=True)
class Choice:
    """What policies are trained by.

    Attributes:
        why: this objective, in a few words.
        lr: for a model of up to a billion weights.
    """

    objective: str
    why: str
    lr: float


PAIRS = Choice("dpo", "the baseline: every comparison counts alike", 4e-4)
LISTS = Choice(
    "rrhf", "lists of several responses; the baseline: every comparison counts alike", 2e-4
)
LABELS = Choice("kto", "learns from single responses, desirable or not", 2e-4)


def init_stage(data: str | Path, model: str, output: str | Path, **reading: Any) -> list[str]:
    """Write a commented recipe for the data and the model, and return what to say of it.

    Args:
        output: the recipe's file, which must not be there yet.
        reading: how data is read, see `load_groups`.

    Raises:
        UserError: the file is there; the data cannot be read, or holds nothing to learn from.
    """
    path = user_path(output)
    if path.exists():
        raise UserError(f"{path}: is there already; choose another with --output, or remove it")
    with folder_for(path.parent):
        ledger = Ledger()
        groups = load_groups(data, ledger=ledger, **reading)
        print_losses(ledger)
        tokenizer = models.load_tokenizer(model)
        seen = look(groups, unlimited(tokenizer))
        text, facts = recipe_text(data, model, path, groups, seen, reading)
        files.write_text(path, text)
    return [*facts, "", f"recipe   {path}", f"next     rewarddiff run {path}"]


def recipe_text(
    data: str | Path,
    model: str,
    path: Path,
    groups: Groups,
    seen: DataLook,
    reading: Mapping[str, Any],
) -> tuple[str, list[str]]:
    """Return the recipe, which is checked, and what it says of the data and of its own time."""
    choice = _choice(str(data), seen)
    effort, most = _effort(model, seen, choice)
    limit = _limit(effort, seen.groups)
    facts = [*seen.sentences(), *effort.sentences(limit)]
    values = {
        **_lengths(model, seen),
        "path": _flow(str(data)),
        "file": _flow(str(path)),
        "name": _name(data),
        "model": _flow(model),
        "reading": {key: _flow(value) for key, value in reading.items()},
        "limit": limit if limit < seen.groups else None,
        "groups": seen.groups,
        "most_comparisons": seen.most_comparisons,
        "splits": _flow(_splits(str(data), groups[:limit], choice)),
        "scorers": choice is not LABELS,
        "backbone": BACKBONE,
        "objective": choice.objective,
        "why": choice.why,
        "lr": f"{choice.lr * effort.lr_scale:.1e}",
        "graded": seen.graded,
        "has_coefficients": seen.has_coefficients,
        "signed": seen.negative > 0,
        "prompts": effort.prompts(limit),
        "facts": facts,
        "max_comparisons": most if most < seen.most_comparisons else None,
    }
    text = _rendered(values)
    load_recipe(parse(text, str(path)), [], Recipe).check()
    return text, facts


def _rendered(values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("rewarddiff.pipeline", "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.get_template("recipe.yaml").render(values)


# --- choices --------------------------------------------------------------------------------------


def _choice(data: str, seen: DataLook) -> Choice:
    """Return what the data lets policies be trained by.

    Raises:
        UserError: it lets nothing.
    """
    if seen.decided:
        return LISTS if seen.mostly_lists else PAIRS
    if seen.desirable and seen.undesirable:
        return LABELS
    held = "responses of which nothing is known"
    if seen.comparisons:
        held = "ties alone"
    elif seen.desirable or seen.undesirable:
        held = "labels that are all the same"
    raise UserError(
        f"{data}: holds {held}, and nothing is learned from that; bring comparisons, lists with "
        "scores, or labels of both kinds"
    )


def _splits(data: str, groups: Groups, choice: Choice) -> Mapping[str, float]:
    """Return shares that give every split something.

    Raises:
        UserError: the data is too small.
    """
    for shares in LABEL_SPLITS if choice is LABELS else SPLITS:
        if len(groups) < FEWEST:
            break
        try:
            parts = split(groups, shares)
        except UserError:
            continue
        if all(any(map(_teaches, part)) for part in parts.values()):
            return shares
    raise UserError(
        f"{data}: {len(groups)} prompts are too few to hold some out; bring at least some twenty"
    )


def _teaches(group: Group) -> bool:
    """Tell whether something is known of a group's responses."""
    is_decided = any(not comparison.tie for comparison in group.known_comparisons())
    return is_decided or any(group.known_labels())


def _effort(model: str, seen: DataLook, choice: Choice) -> tuple[Effort, int]:
    """Return the effort with as many comparisons of each prompt as time allows, and how many."""
    for most in MOST_COMPARISONS:
        effort = Effort.of(model, BACKBONE, seen, choice.objective, most)
        if effort.seconds(min(seen.groups, LIMITS[0])) <= 60 * MINUTES:
            break
    return effort, most


def _limit(effort: Effort, groups: int) -> int:
    """Return how many prompts a first run takes."""
    limit = min(groups, LIMITS[0])
    for larger in (*LIMITS, groups):
        if larger <= groups and effort.seconds(larger) <= 60 * MINUTES:
            limit = max(limit, larger)
    return limit


def _lengths(model: str, seen: DataLook) -> dict[str, Any]:
    """Return the limits of tokens, and what is said of them."""
    context = models.context_length(model) or NICE[-1]
    scorer_context = models.context_length(BACKBONE) or NICE[-1]
    response = _nice(seen.response, context // 2)
    prompt = _nice(seen.prompt, context - response)
    cut = "which 95 of 100 texts do not exceed; longer ones are cut"
    if prompt < seen.prompt or response < seen.response:
        cut = f"as far as the model's {context} allow; longer texts are cut"
    return {
        "max_prompt": prompt,
        "max_response": response,
        "scorer_response": _nice(seen.response, scorer_context // 2),
        "new_tokens": min(response, 64),
        "microbatch": max(1024, prompt + 2 * response),
        "cut": cut,
    }


def _nice(length: int, most: int) -> int:
    """Return the next number that is easily read, at most `most`."""
    for smaller, larger in pairwise((0, *NICE)):
        if smaller < length <= larger:
            return min(larger, most)
    return most


# --- YAML -----------------------------------------------------------------------------------------


def _name(data: str | Path) -> str:
    name = name_of(data).lstrip(".")
    return name if NAME.fullmatch(name) else "first"


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    import yaml

    written = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000
    )
    return written.removesuffix("...\n").strip()
