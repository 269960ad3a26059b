"""Run all contestants side by side, print one line per comparison, write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, is_dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch

from benchmarks import contest, groups, lists, machine, sweeping
from benchmarks.contest import Outcome, Precision, Task
from benchmarks.groups import Lengths
from benchmarks.rows import Row, hh_rows, make_rows, write_rows
from rewarddiff.models import resolve

RESULTS = Path(__file__).parent / "results"
OURS = "ours"
CONTESTANTS: dict[str, tuple[str, bool]] = {
    OURS: ("benchmarks.ours", False),
    "trl": ("benchmarks.peer_trl", False),
    "trl-precompute": ("benchmarks.peer_trl", True),
}
"""Name → module, and whether the peer computes reference log-probabilities before training."""

ROWS: dict[Precision, int] = {"bf16": 24, "fp32": 16}
"""Rows by precision: float32 is several times slower where the processor multiplies bfloat16
natively."""


def main() -> None:
    given = arguments()
    threads = machine.threads()
    torch.set_num_threads(threads)
    model = str(resolve(given.model))
    for name in given.only:
        contests = {"dpo": dpo, "sweep": sweep}
        content = (
            contests[name](given, model, threads)
            if name in contests
            else of_groups(name, given, model, threads)
        )
        for comparison in content["comparisons"]:
            print(comparison.line())
        for line in content.pop("lines", ()):
            print(line)
        path = place(name, given)
        write_json(path, {"schema": 1, "machine": machine.describe(), **content})
        say(f"written: {path}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="This project beside its peers."
    )
    names = ("dpo", *lists.CONTESTS, "sweep")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, help="the contests to run (default: all)"
    )
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="name or folder of the model"
    )
    parser.add_argument(
        "--rows", choices=("made", "hh"), default="made", help="dpo: made rows, or HH's where it is"
    )
    parser.add_argument(
        "--lengths", nargs="+", choices=get_args(Lengths), default=get_args(Lengths),
        help="groups: all of one length, or spread as HH's (default: both, one after the other)",
    )  # fmt: skip
    parser.add_argument("--precision", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument(
        "--rounds", type=int, default=2, help="each round runs every contestant once"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rows, one round; writes quick.json"
    )
    parser.add_argument(
        "--output", type=Path, help="folder for the JSON files (default: benchmarks/results)"
    )
    return parser.parse_args()


def place(name: str, given: argparse.Namespace) -> Path:
    """latest.json and quick.json are DPO's; the others carry their name."""
    kind = "quick" if given.quick else "latest"
    return (given.output or RESULTS) / (f"{kind}.json" if name == "dpo" else f"{kind}-{name}.json")


def dpo(given: argparse.Namespace, model: str, threads: int) -> dict[str, Any]:
    """DPO by all contestants, and what share of the machine's matrix products each of them
    reaches."""
    say(f"machine: {machine.describe()['cpu']}, {threads} cores; timing matrix products")
    rates = machine.matmul_rates()
    size = machine.model_size(model)
    rounds = 1 if given.quick else given.rounds
    runs = {
        precision: contend(
            model,
            rows_of(given.rows, 16 if given.quick else ROWS[precision]),
            precision,
            rounds,
            threads,
        )
        for precision in given.precision
    }
    fractions = {
        precision: {
            name: fraction(theirs, size, rates[precision]) for name, theirs in outcomes.items()
        }
        for precision, outcomes in runs.items()
    }
    lines = []
    for precision, reached in fractions.items():
        shares = " ".join(f"{name}={share:.1%}" for name, share in reached.items())
        best = max(rates[precision].values()) / 1e9
        lines.append(f"of the matmul rate, {precision} ({best:.0f} GFLOP/s): {shares}")
    return {
        "settings": {
            "model": given.model,
            "rows": given.rows,
            "batch": contest.BATCH,
            "threads": threads,
        },
        "comparisons": [
            comparison
            for precision, outcomes in runs.items()
            for comparison in contest.comparisons(
                precision,
                outcomes[OURS],
                {name: theirs for name, theirs in outcomes.items() if name != OURS},
            )
        ],
        "matmul_flops_per_second": rates,
        "fraction_of_matmul_rate": fractions,
        "runs": runs,
        "lines": lines,
    }


def sweep(given: argparse.Namespace, model: str, threads: int) -> dict[str, Any]:
    """A sweep beside the runs it stands for, in seconds of the wall clock."""
    rounds = 1 if given.quick else given.rounds
    runs = [sweeping.contend(model, threads, quick=given.quick, say=say) for _ in range(rounds)]
    seconds = [run.sweep for run in runs], [sum(run.runs) for run in runs]
    return {
        "settings": {
            "model": given.model,
            "alphas": sweeping.ALPHAS,
            "seeds": sweeping.SEEDS,
            "threads": threads,
        },
        "comparisons": [contest.compare("sweep", "seconds", *seconds)],
        "runs": runs,
    }


def of_groups(name: str, given: argparse.Namespace, model: str, threads: int) -> dict[str, Any]:
    """A contest on groups of responses, in every precision and spread of lengths."""
    rounds = 1 if given.quick else given.rounds
    runs = {
        f"{precision}-{lengths}": lists.contend(
            name,
            model,
            precision,
            lengths,
            rounds=rounds,
            threads=threads,
            quick=given.quick,
            say=say,
        )
        for precision in given.precision
        for lengths in given.lengths
    }
    compare = lists.CONTESTS[name].compare
    return {
        "settings": {"model": given.model, "responses": groups.RESPONSES, "threads": threads},
        "comparisons": [
            comparison
            for case, own in runs.items()
            for comparison in compare(f"{name}-{case}", own)
        ],
        "runs": runs,
    }


def rows_of(kind: str, n: int) -> list[Row]:
    return hh_rows(n) if kind == "hh" else make_rows(n)


def contend(
    model: str, rows: list[Row], precision: Precision, rounds: int, threads: int
) -> dict[str, list[Outcome]]:
    """Every contestant once a round, alternately, so that a slow spell of the machine falls on all
    of them."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(rows, path)
        for turn in range(rounds):
            for name, (module, precompute) in CONTESTANTS.items():
                outcome = contest.run(
                    module, Task(model, path, precision, precompute), threads, Outcome
                )
                outcomes[name].append(outcome)
                contest.require_same_tokens(
                    {known: runs[-1] for known, runs in outcomes.items() if runs}
                )
                say(
                    f"{precision} round {turn + 1}/{rounds} {name}: {outcome.pairs_per_second:.3f} pairs/s, "
                    f"{outcome.bytes_above_model / 2**30:.2f} GiB above the model"
                )
    return outcomes


def fraction(outcomes: list[Outcome], size: machine.ModelSize, rates: dict[str, float]) -> float:
    """Useful FLOP/s over the machine's best measured matmul rate, median of the rounds."""
    return median(
        size.flops(outcome.prompt_tokens, outcome.response_tokens)
        / outcome.seconds
        / max(rates.values())
        for outcome in outcomes
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2, default=_plain) + "\n", encoding="utf-8")
    part.replace(path)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
