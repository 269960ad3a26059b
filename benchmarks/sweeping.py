"""A sweep of five α and three seeds beside fifteen runs of one α and one seed each, all of them by
the command line.

What is learned is the demo's pipeline cut short: a difference model and one DPO policy on part of
the embedded data, samples judged by the scorer. A run by itself trains its scorer and its policy
and reads its differences anew; the sweep does once what its points share. Both end with
results.json, and the same policies with the same rewards.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import execute

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
    """The demo's, with fewer groups, steps and tokens."""
    limits = {"max_prompt": 64, "max_response": 96}
    return {
        "name": "sweep",
        "model": model,
        "data": {"path": "demo", "limit": 24 if quick else 60},
        "lengths": limits,
        "scorers": {
            "difference": {"kind": "difference", "lengths": limits, "train": {"batch_size": 4}}
        },
        "policies": {
            "dpo": {
                "objective": "dpo",
                "lora": {"r": 16, "alpha": 32},
                "train": {
                    "lr": 4e-4,
                    "max_steps": 1 if quick else 4,
                    "batch_size": 4,
                    "eval_every": None,
                },
                "coefficient": {"source": "difference"},
            }
        },
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 8 if quick else 24}},
    }


def contend(model: str, threads: int, *, quick: bool, say: Callable[[str], None]) -> Seconds:
    """One round: the sweep, then the runs.

    Raises:
        RuntimeError: a command failed, or the same policy got other rewards.
    """
    alphas, seeds = (ALPHAS[::2], SEEDS[:1]) if quick else (ALPHAS, SEEDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "recipe.json"  # JSON is YAML
        path.write_text(json.dumps(recipe(model, quick=quick)))
        values = [
            f"coefficient.alpha={','.join(map(str, alphas))}",
            f"seed={','.join(map(str, seeds))}",
        ]
        swept = _timed(["sweep", str(path), *values, f"output={folder / 'sweep'}"], threads)
        say(f"sweep of {len(alphas)} α and {len(seeds)} seeds: {swept:.0f} s")
        runs = []
        for alpha in alphas:
            for seed in seeds:
                output = folder / f"{alpha}-{seed}"
                options = [
                    f"policies.dpo.coefficient.alpha={alpha}",
                    f"seed={seed}",
                    f"output={output}",
                ]
                runs.append(_timed(["run", str(path), *options], threads))
                say(f"run with α = {alpha}, seed {seed}: {runs[-1]:.0f} s")
                _require_same(folder / "sweep", output, alpha, seed)
    return Seconds(swept, tuple(runs))


def _timed(arguments: Sequence[str], threads: int) -> float:
    start = time.perf_counter()
    execute([sys.executable, "-m", "rewarddiff", *arguments], threads)
    return time.perf_counter() - start


def _require_same(sweep: Path, run: Path, alpha: float, seed: int) -> None:
    """The rewards of the run's only policy are those of one of the sweep's policies of that
    seed."""
    own = json.loads((run / "rewards" / str(seed) / "rewards.json").read_text())["difference"][
        "dpo"
    ]
    known = json.loads((sweep / "rewards" / str(seed) / "rewards.json").read_text())["difference"]
    if own not in known.values():
        raise RuntimeError(f"α = {alpha}, seed {seed}: other rewards by itself than in the sweep")
