"""Small scorers on disk, and files of preferences."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.config import load_recipe
from rewarddiff.pipeline.scoring import Weighed, weigh_dataset
from rewarddiff.scorers.neural.build import new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig

KINDS: dict[str, dict[str, Any]] = {
    "reward": {"kind": "reward"},
    "ensemble": {"kind": "reward", "heads": 3},
    "difference": {"kind": "difference", "head": "segments"},
}


@pytest.fixture(scope="session")
def scorer_folders(
    tmp_path_factory: pytest.TempPathFactory, policy_folder: Path
) -> dict[str, Path]:
    """A scorer of every kind with T = 2; its head is fresh, and said to be trained."""
    root = tmp_path_factory.mktemp("scorers")
    for name, options in KINDS.items():
        config = {"backbone": str(policy_folder), "lengths": {"max_response": 40}, **options}
        scorer = new_scorer(load_recipe(config, [], ScorerConfig), seed=1)
        scorer.trained = True
        scorer.temperature = 2.0
        save_scorer(scorer, root / name)
    return {name: root / name for name in KINDS}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """Write rows as JSON Lines, texts as they are."""
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# d by length is log(1 + characters chosen) − log(1 + characters rejected): 3, 1, 0 and 7 characters
# are log 4, log 2, log 1 and log 8.
PAIRS = [
    {"prompt": "P1", "chosen": "abc", "rejected": "d", "id": "one", "subset": "easy"},  # log 2
    {"prompt": "P2", "chosen": "d", "rejected": "abcdefg"},  # −log 4
    {"prompt": "P3", "chosen": "abcdefg", "rejected": "d"},  # log 4
    {"prompt": "P4", "chosen": "d", "rejected": "abc", "subset": "easy"},  # −log 2
]
L2, L4 = math.log(2), math.log(4)


def weighed(
    rows: Sequence[Any], folder: Path, scorer: str = "length", **options: Any
) -> tuple[list[dict[str, Any]], Weighed]:
    data = write_lines(folder / "rows.jsonl", rows)
    done = weigh_dataset(scorer, data, folder / "out.jsonl", CoefficientConfig(**options))
    return read_lines(folder / "out.jsonl"), done


def column(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]
