"""A sweep of five α and three seeds beside fifteen runs of one α and one seed each.

All of them are run by the command line. What is learned is the demo's pipeline cut short: a
difference model and one DPO policy on part of the embedded data, samples judged by the scorer. A
run by itself trains its scorer and its policy and reads its differences anew; the sweep does once
what its points share. Both end with results.json, and the same policies with the same rewards.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.contest import execute, say

ALPHAS = (0, 0.25, 0.5, 1, 2)
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Seconds:
    """One round.

    Attributes:
        sweep: of the sweep. runs: of every run by itself, α by α and seed by seed.
    """

    sweep: float
    runs: tuple[float, ...]


def recipe(model: str, *, quick: bool) -> dict[str, Any]:
    """Return the demo's recipe, with fewer groups, steps and tokens."""
    lengths = {"max_prompt": 64, "max_response": 96}
    steps = {
        "lr": 4e-4,
        "max_steps": 1 if quick else 4,
        "batch_size": 4,
        "eval_every": None,
    }
    scorer = {"kind": "difference", "lengths": lengths, "train": {"batch_size": 4}}
    policy = {
        "objective": "dpo",
        "lora": {"r": 16, "alpha": 32},
        "train": steps,
        "coefficient": {"source": "difference"},
    }
    return {
        "name": "sweep",
        "model": model,
        "data": {"path": "demo", "limit": 24 if quick else 60},
        "lengths": lengths,
        "scorers": {"difference": scorer},
        "policies": {"dpo": policy},
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 8 if quick else 24}},
    }


def contend(model: str, threads: int, *, quick: bool) -> Seconds:
    """Run one round: the sweep, then the runs.

    Raises:
        RuntimeError: a command failed, or the same policy got other rewards.
    """
    alphas = ALPHAS[::2] if quick else ALPHAS
    seeds = SEEDS[:1] if quick else SEEDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "recipe.json"  # JSON is YAML
        path.write_text(json.dumps(recipe(model, quick=quick)))
        all_alphas = ",".join(map(str, alphas))
        all_seeds = ",".join(map(str, seeds))
        values = [f"coefficient.alpha={all_alphas}", f"seed={all_seeds}"]
        swept = _timed(["sweep", str(path), *values, f"output={folder / 'sweep'}"], threads)
        say(f"sweep of {len(alphas)} α and {len(seeds)} seeds: {swept:.0f} s")
        runs = []
        for alpha, seed in product(alphas, seeds):
            output = folder / f"{alpha}-{seed}"
            values = [f"policies.dpo.coefficient.alpha={alpha}", f"seed={seed}"]
            run = _timed(["run", str(path), *values, f"output={output}"], threads)
            say(f"run with α = {alpha}, seed {seed}: {run:.0f} s")
            runs.append(run)
            _require_same(folder / "sweep", output, alpha, seed)
    return Seconds(swept, tuple(runs))


def _timed(arguments: Sequence[str], threads: int) -> float:
    start = time.perf_counter()
    execute([sys.executable, "-m", "rewarddiff", *arguments], threads)
    return time.perf_counter() - start


def _require_same(sweep: Path, run: Path, alpha: float, seed: int) -> None:
    """Refuse a run whose only policy has other rewards than all of the sweep's of that seed."""
    alone = _rewards(run, seed)["dpo"]
    if alone not in _rewards(sweep, seed).values():
        raise RuntimeError(f"α = {alpha}, seed {seed}: other rewards by itself than in the sweep")


def _rewards(folder: Path, seed: int) -> dict[str, Any]:
    text = (folder / "rewards" / str(seed) / "rewards.json").read_text()
    rewards: dict[str, Any] = json.loads(text)["difference"]
    return rewards
