"""Tiny models, rows, and recipes of them: a whole run takes seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import beside  # noqa: F401, it is what lets the others be found

from benchmarks.trace import _models

Models = dict[str, str]
"""The folders of a "policy" and of an "encoder"."""

Settings = dict[str, Any]

TRAIN: Settings = {
    "batch_size": 4,
    "max_steps": 2,
    "precision": "fp32",
    "lr": 1e-3,
    "save_every": 1,
}

LENGTHS: Settings = {"max_response": 48}


def models(folder: Path) -> Models:
    """Make a tiny language model and a tiny encoder in a folder."""
    return _models(folder)


def scorer(backbone: str, folder: Path) -> Any:
    """Save a reward model that passes for a trained one, and return it."""
    from rewarddiff.scorers.neural.build import new_scorer, save_scorer
    from rewarddiff.scorers.neural.config import ScorerConfig

    made = new_scorer(ScorerConfig(backbone=backbone), seed=1)
    made.trained = True
    made.prompts = frozenset()
    save_scorer(made, folder)
    return made


def pairs(count: int, asked: str = "Say it", mark: str = "!!!") -> list[dict[str, str]]:
    """Return so many preference pairs, no two alike."""
    rows = []
    for i in range(count):
        rows.append({"prompt": f"{asked} {i}", "chosen": f"yes{i}{mark}", "rejected": f"no{i}"})
    return rows


def turns(pairs: Iterable[dict[str, str]]) -> list[dict[str, Any]]:
    """Return pairs whose texts are turns of conversations."""
    rows = []
    for pair in pairs:
        row = {}
        for column, text in pair.items():
            role = "user" if column == "prompt" else "assistant"
            row[column] = [{"role": role, "content": text}]
        rows.append(row)
    return rows


def worths(count: int) -> list[dict[str, str]]:
    """Return so many pairs whose responses say what they are worth: `annotate.conftest.worth` reads it."""
    rows = []
    for i in range(count):
        chosen, rejected = f"answer {i}, worth 4", f"answer {i}, worth {i % 7 + 1}!"
        rows.append({"prompt": f"question {i}", "chosen": chosen, "rejected": rejected})
    return rows


def lines(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows as JSON Lines, and return the file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outputs(path: Path, text: str, generator: str) -> Path:
    """Write four outputs as AlpacaEval has them, and return the file."""
    rows = []
    for i in range(4):
        rows.append({"instruction": f"q{i}", "output": f"{text} {i}", "generator": generator})
    path.write_text(json.dumps(rows))
    return path


def edit(path: Path, **values: Any) -> None:
    """Change values of a file of JSON, which need not be there."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def scorers(
    models: Models, train: Settings = TRAIN, kinds: Sequence[str] = ("reward", "difference")
) -> Settings:
    """Return the scorers of a recipe: a reward model, and a difference model that begins with it."""
    settings = {"backbone": models["encoder"], "train": train, "lengths": LENGTHS}
    both: Settings = {
        "reward": {"kind": "reward", **settings},
        "difference": {"kind": "difference", "warm_start": "reward", **settings},
    }
    return {kind: both[kind] for kind in kinds}


def policy(objective: Any = "dpo", train: Settings = TRAIN, source: str = "difference") -> Settings:
    """Return a policy that weighs its pairs by the differences of a scorer."""
    coefficient = {"source": source, "alpha": 0.5, "negative": "abs"}
    return {"objective": objective, "train": train, "coefficient": coefficient}


def online(train: Settings = TRAIN, mini_batches: int = 2) -> Settings:
    """Return a policy that learns from its own samples, by the rewards of a reward model."""
    return {
        "train": train | {"batch_size": 2},
        "online": {
            "reward": {"source": "reward"},
            "advantage": {"estimator": "rloo"},
            "num_generations": 2,
            "num_mini_batches": mini_batches,
            "max_new_tokens": 4,
        },
    }


def recipe(models: Models, output: Path, train: Settings = TRAIN, **parts: Any) -> Settings:
    """Return a recipe with a scorer of each kind, a policy, and what is judged.

    Args:
        parts: what takes the place of the recipe's own.
    """
    return {
        "name": "tiny",
        "model": models["policy"],
        "output": str(output),
        "data": {"path": "demo", "limit": 16, "splits": {"train": 0.5, "dev": 0.2, "test": 0.3}},
        "lengths": LENGTHS,
        "scorers": scorers(models, train),
        "policies": {"dpo": policy("dpo", train)},
        "evaluation": {"sampling": {"max_new_tokens": 4, "stop": []}, "prompts": 2},
        **parts,
    }
