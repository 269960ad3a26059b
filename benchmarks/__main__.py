"""Run all contestants side by side, print one line per comparison, write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch

from benchmarks import (
    contest,
    groups,
    lists,
    machine,
    online,
    reward,
    rollouts,
    serve,
    streaming,
    sweeping,
    throughput,
)
from benchmarks.contest import Outcome, Precision, Task, say
from benchmarks.groups import Lengths
from benchmarks.rows import Row, hh_rows, make_rows, write_rows
from rewarddiff import files
from rewarddiff.models import resolve

RESULTS = Path(__file__).parent / "results"
OURS = "ours"
CONTESTANTS: dict[str, tuple[str, bool]] = {
    OURS: ("benchmarks.ours", False),
    "trl": ("benchmarks.peer_trl", False),
    "trl-precompute": ("benchmarks.peer_trl", True),
}
"""Name → module, and whether it computes reference log-probabilities before training."""

ROWS: dict[Precision, int] = {"bf16": 24, "fp32": 16}
"""Rows by precision: float32 is several times slower where the processor multiplies bfloat16."""


FEW = 16
"""Rows of a quick run: two steps."""


def main() -> None:
    given = arguments()
    given.threads = machine.threads()
    given.folder = str(resolve(given.model))
    torch.set_num_threads(given.threads)
    for name in given.only:
        if name == "dpo":
            content = dpo(given)
        elif name == "reward":
            content = reward_model(given)
        elif name == "sweep":
            content = sweep(given)
        elif name == "score":
            content = score(given)
        elif name == "stream":
            content = stream(given)
        elif name == "serve":
            content = serving(given)
        elif name == "online":
            content = online_training(given)
        else:
            content = of_groups(name, given)
        for comparison in content["comparisons"]:
            print(comparison.line())
        for line in content.pop("lines", ()):
            print(line)
        path = place(name, given)
        content = {"schema": 1, "machine": machine.describe(), **content}
        files.write_text(path, json.dumps(content, indent=2, default=asdict) + "\n")
        say(f"written: {path}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="This project beside its peers."
    )
    names = ("dpo", "reward", *lists.CONTESTS, "sweep", "score", "stream", "serve", "online")
    text = "the contests to run (default: all)"
    parser.add_argument("--only", nargs="+", choices=names, default=names, help=text)
    text = "name or folder of the model"
    parser.add_argument("--model", default="smollm2-135m-instruct", help=text)
    text = "dpo, reward: made rows, or HH's where it is"
    parser.add_argument("--rows", choices=("made", "hh"), default="made", help=text)
    lengths = get_args(Lengths)
    text = "groups: all of one length, or spread as HH's (default: both, one after the other)"
    parser.add_argument("--lengths", nargs="+", choices=lengths, default=lengths, help=text)
    parser.add_argument("--precision", nargs="+", choices=list(ROWS), default=list(ROWS))
    text = "each round runs every contestant once"
    parser.add_argument("--rounds", type=int, default=2, help=text)
    text = "few rows, one round; writes quick.json"
    parser.add_argument("--quick", action="store_true", help=text)
    text = "folder for the JSON files (default: benchmarks/results)"
    parser.add_argument("--output", type=Path, default=RESULTS, help=text)
    given = parser.parse_args()
    if given.quick:
        given.rounds = 1
    return given


def place(name: str, given: argparse.Namespace) -> Path:
    """Return the file for the figures: latest.json and quick.json are DPO's, others are named."""
    kind = "quick" if given.quick else "latest"
    file = f"{kind}.json" if name == "dpo" else f"{kind}-{name}.json"
    output: Path = given.output
    return output / file


def dpo(given: argparse.Namespace) -> dict[str, Any]:
    """Run DPO by all contestants, and say what share of the machine's products each reaches."""
    say(f"machine: {machine.describe()['cpu']}, {given.threads} cores; timing matrix products")
    rates = machine.matmul_rates()
    size = machine.model_size(given.folder)
    runs = {}
    fractions = {}
    comparisons = []
    lines = []
    for precision in given.precision:
        outcomes = contend(given, precision)
        runs[precision] = outcomes
        peers = {name: theirs for name, theirs in outcomes.items() if name != OURS}
        comparisons += contest.comparisons(precision, outcomes[OURS], peers)
        best = max(rates[precision].values())
        reached = {name: fraction(theirs, size, best) for name, theirs in outcomes.items()}
        fractions[precision] = reached
        shares = " ".join(f"{name}={share:.1%}" for name, share in reached.items())
        lines.append(f"of the matmul rate, {precision} ({best / 1e9:.0f} GFLOP/s): {shares}")
    return {
        "settings": {
            "model": given.model,
            "rows": given.rows,
            "batch": contest.BATCH,
            "threads": given.threads,
        },
        "comparisons": comparisons,
        "matmul_flops_per_second": rates,
        "fraction_of_matmul_rate": fractions,
        "runs": runs,
        "lines": lines,
    }


def contend(given: argparse.Namespace, precision: Precision) -> dict[str, list[Outcome]]:
    """Run every contestant of DPO once a round."""
    count = FEW if given.quick else ROWS[precision]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(rows_of(given.rows, count), path)
        contestants = {}
        for name, (module, precompute) in CONTESTANTS.items():
            contestants[name] = (module, Task(given.folder, path, precision, precompute))
        return contest.take_turns(
            contestants,
            Outcome,
            rounds=given.rounds,
            threads=given.threads,
            title=precision,
            require_same=contest.require_same_tokens,
        )


def rows_of(kind: str, n: int) -> list[Row]:
    return hh_rows(n) if kind == "hh" else make_rows(n)


def fraction(outcomes: list[Outcome], size: machine.ModelSize, rate: float) -> float:
    """Return useful FLOP/s over the machine's best measured rate, median of the rounds."""
    shares = []
    for outcome in outcomes:
        flops = size.flops(outcome.prompt_tokens, outcome.response_tokens)
        shares.append(flops / outcome.seconds / rate)
    return median(shares)


def reward_model(given: argparse.Namespace) -> dict[str, Any]:
    """Train a reward model by this project and by TRL."""
    runs = {}
    comparisons = []
    for precision in given.precision:
        rows = rows_of(given.rows, FEW if given.quick else ROWS[precision])
        runs[precision] = reward.contend(
            given.folder, rows, precision, rounds=given.rounds, threads=given.threads
        )
        comparisons += reward.comparisons(precision, runs[precision])
    return {
        "settings": {
            "model": given.model,
            "rows": given.rows,
            "batch": contest.BATCH,
            "threads": given.threads,
        },
        "comparisons": comparisons,
        "runs": runs,
    }


def sweep(given: argparse.Namespace) -> dict[str, Any]:
    """Run a sweep beside the runs it stands for, in seconds of the wall clock."""
    rounds = [
        sweeping.contend(given.folder, given.threads, quick=given.quick)
        for _ in range(given.rounds)
    ]
    ours = [seconds.sweep for seconds in rounds]
    peer = [sum(seconds.runs) for seconds in rounds]
    return {
        "settings": {
            "model": given.model,
            "alphas": sweeping.ALPHAS,
            "seeds": sweeping.SEEDS,
            "threads": given.threads,
        },
        "comparisons": [contest.compare("sweep", "seconds", ours, peer)],
        "runs": rounds,
    }


def score(given: argparse.Namespace) -> dict[str, Any]:
    """Score pairs by this project, transformers and TRL, in float32."""
    runs = throughput.contend(
        given.folder, rounds=given.rounds, threads=given.threads, quick=given.quick
    )
    return {
        "settings": {"model": given.model, "pairs": throughput.PAIRS, "threads": given.threads},
        "comparisons": throughput.comparisons(runs),
        "runs": runs,
    }


def stream(given: argparse.Namespace) -> dict[str, Any]:
    """Measure the memory of scoring and weighing at few rows and at many."""
    runs = streaming.contend(given.folder, threads=given.threads, quick=given.quick)
    return {
        "settings": {"rows": streaming.ROWS, "times": streaming.TIMES, "threads": given.threads},
        "comparisons": streaming.comparisons(runs),
        "runs": runs,
    }


def serving(given: argparse.Namespace) -> dict[str, Any]:
    """Press a server with 64 clients, and the same one that reads one request at a time."""
    seconds = 6.0 if given.quick else 60.0
    outcome = serve.contend(given.threads, rounds=given.rounds, seconds=seconds, quick=given.quick)
    settings = {
        "models": serve.MODELS,
        "clients": serve.CLIENTS,
        "seconds": seconds,
        "threads": given.threads,
    }
    return {"settings": settings, **outcome}


def online_training(given: argparse.Namespace) -> dict[str, Any]:
    """Update in trees and as padded rows; time whole turns in the first precision."""
    prompts = online.FEW if given.quick else online.PROMPTS
    new_tokens = 8 if given.quick else online.NEW_TOKENS
    runs = {}
    comparisons = []
    for precision in given.precision:
        runs[precision] = online.contend(
            given.folder, precision, rounds=given.rounds, prompts=prompts
        )
        comparisons += online.comparisons(precision, runs[precision])
    first = given.precision[0]
    turns = online.train(given.folder, first, prompts=prompts, new_tokens=new_tokens)
    return {
        "settings": {
            "model": given.model,
            "prompts": prompts,
            "samples": rollouts.SAMPLES,
            "response_tokens": online.CASES,
            "new_tokens": new_tokens,
            "threads": given.threads,
        },
        "comparisons": comparisons,
        "runs": runs,
        "turns": {first: turns},
        "lines": online.lines(first, turns),
    }


def of_groups(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run a contest on groups of responses, in every precision and spread of lengths."""
    runs = {}
    comparisons = []
    for precision in given.precision:
        for lengths in given.lengths:
            case = f"{precision}-{lengths}"
            runs[case] = lists.contend(
                name,
                given.folder,
                precision,
                lengths,
                rounds=given.rounds,
                threads=given.threads,
                quick=given.quick,
            )
            comparisons += lists.CONTESTS[name].compare(f"{name}-{case}", runs[case])
    return {
        "settings": {
            "model": given.model,
            "responses": groups.RESPONSES,
            "threads": given.threads,
        },
        "comparisons": comparisons,
        "runs": runs,
    }


if __name__ == "__main__":
    main()
