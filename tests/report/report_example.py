"""A made-up results.json as the pipeline writes it, with hostile text where people's text goes."""

import copy
import math
from typing import Any

HOSTILE = '</div></style><script>alert("x")</script><img src=x onerror=alert(1)> & "quotes" \'single\' {{ 7*7 }} $x_1$'
LONG = ("The quick brown fox explains, at some length, why rivers bend. " * 60).strip()
SCORERS = ("reward", "difference")
POLICIES = ("dpo", "dpo+difference", "dpo+shuffled")


def interval(value: float, half: float, n: int = 240) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def share(value: float, n: int) -> dict[str, Any]:
    return {
        "value": value,
        "low": max(value - 0.9 / n**0.5, 0.0),
        "high": min(value + 0.9 / n**0.5, 1.0),
        "n": n,
    }


def curve(start: float, end: float, steps: int, seed: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        fade = math.exp(-3 * step / steps)
        wave = 0.06 * math.sin(2.3 * step + seed) * (1 + fade)
        line = {
            "step": step,
            "epoch": step / steps,
            "split": "train",
            "lr": 1e-6,
            "grad_norm": 1.5,
            "tokens": 2048,
        }
        lines.append(
            line
            | {
                "loss": end + (start - end) * fade + wave,
                "rewards/accuracies": 0.72 - 0.2 * fade - wave,
            }
        )
        if step % (steps // 5) == 0:
            dev = {"step": step, "epoch": step / steps, "split": "dev"}
            lines.append(
                dev
                | {
                    "loss": end + 0.03 + 0.01 * seed + (start - end) * fade,
                    "rewards/accuracies": 0.69 - 0.17 * fade,
                }
            )
    return lines


def evaluation(accuracy: float, seed: int, twice: bool) -> dict[str, Any]:
    by_bin = [(0, 1, 0.574, 212), (1, 2, 0.717, 121), (2, 3, 0.853, 61), (3, None, 0.941, 34)]
    by_strength = [(1, 0.603, 188), (2, 0.691, 130), (3, 0.804, 77), (4, 0.913, 33)]
    return {
        "n": 428, "n_groups": 240, "ties": 22, "undecided": 0,
        "accuracy": interval(accuracy, 0.043, 428),
        "accuracy_by_order": {"forward": accuracy - 0.01, "backward": accuracy + 0.01} if twice
        else {"forward": None, "backward": None},
        "mean": 0.83, "std": 1.61, "mean_abs": 1.37, "mean_abs_ties": 0.88, "nll": 0.584,
        "by_bin": [{"low": low, "high": high, "accuracy": share(value, n)} for low, high, value, n in by_bin],
        "by_strength": [{"low": at, "high": at, "accuracy": share(value, n)} for at, value, n in by_strength],
        "ece": 0.0613 + 0.003 * seed, "temperature": 1.274, "ece_tempered": 0.0287,
        "antisymmetry": {"mean": 0.11, "max": 0.74, "relative": 0.0803} if twice
        else {"mean": None, "max": None, "relative": None},
        "spearman_strength": 0.337, "spearman_strength_oriented": 0.41,
        "by_length": {"shorter": interval(0.641, 0.07, 188), "longer": interval(0.778, 0.05, 236), "equal": 4},
        "by_subset": [
            {"subset": "chat", "accuracy": interval(0.752, 0.05, 300)},
            {"subset": "maths", "accuracy": interval(0.625, 0.09, 128)},
        ],
        "macro_accuracy": 0.6885,
        "best_of_n": {"first": interval(0.512, 0.09, 120), "chance": 0.2504, "n": 4.0},
        "spread": {"mean": 0.613, "auroc": 0.704, "auroc_alone": 0.681} if twice
        else {"mean": None, "auroc": None, "auroc_alone": None},
        "by_aspect": [] if twice
        else [{"aspect": "chat", "own": interval(0.767, 0.05, 300), "weighted": interval(0.752, 0.05, 300)}],
        "rewards": {"mean": None, "std": None, "edges": [], "chosen": [], "rejected": []} if twice
        else {"mean": 1.214, "std": 2.051, "edges": [-3, 0, 3], "chosen": [100, 328], "rejected": [260, 168]},
        "baselines": {"longer_wins": interval(0.561, 0.047, 428)},
    }  # fmt: skip


def coefficient_report(scale: float) -> dict[str, Any]:
    marks = {
        "0": -4.1,
        "0.05": -1.62,
        "0.25": -0.18,
        "0.5": 0.77,
        "0.75": 1.81,
        "0.95": 3.66,
        "1": 7.2,
    }
    return {
        "n": 2400, "n_kept": 2400, "share_negative": 0.2871, "share_dropped": 0.0, "share_flipped": 0.0,
        "share_zero": 0.2871, "effective_share": 0.412,
        "before": {"mean": 0.842, "std": 1.633, "quantiles": marks},
        "after": {
            "mean": scale, "std": 0.9 * scale,
            "quantiles": {mark: max(value, 0.0) * scale for mark, value in marks.items()},
        },
        "warnings": [],
    }  # fmt: skip


def bell(centre: float) -> list[int]:
    return [
        round(420 * math.exp(-(((-4 + 0.25 * i + 0.125 - centre) / 1.9) ** 2))) for i in range(48)
    ]


def results(seeds: int = 2) -> dict[str, Any]:
    """Two scorers, three policies and `seeds` seeds."""
    runs = range(seeds)
    mean = {
        "base": (-0.412, -0.287), "dpo": (0.153, 0.094), "dpo+difference": (0.241, 0.377),
        "dpo+shuffled": (0.131, 0.102)
    }  # fmt: skip
    cost = {
        "seconds": 421.7,
        "tokens": 1_204_331,
        "tokens_per_second": 2856.0,
        "peak_memory_bytes": 3_400_000_000,
    }
    edges = [-4 + 0.25 * i for i in range(49)]
    coefficient = {"source": "difference", "scorer": "difference", "alpha": 0.5, "negative": "clip"}
    return {
        "schema": 1, "name": "demo <&> friends", "version": "0.1.0", "created": "2025-03-02T10:11:12+00:00",
        "recipe": {
            "name": "demo", "data": {"source": "demo", "limit": None},
            "scorers": {"difference": {"lr": 1e-5, "note": HOSTILE}}, "seeds": list(runs),
        },
        "machine": {"cpu": "Example CPU @ 2.0 GHz", "cores": 2, "torch": "2.13.0", "memory_bytes": 8_000_000_000},
        "data": {
            "splits": {
                "train": {"groups": 1312, "comparisons": 2400}, "dev": {"groups": 151, "comparisons": 260},
                "test": {"groups": 240, "comparisons": 428},
            },
            "ledger": LEDGER,
        },
        "scorers": [
            {
                "name": name, "kind": name, "seed": seed, "backbone": "tiny-decoder",
                "evaluation": evaluation(0.714 - 0.01 * seed, seed, name == "difference"),
                "curve": curve(0.71, 0.52, 40, seed), "cost": cost,
            }
            for name in SCORERS for seed in runs
        ],
        "coefficients": [
            {
                "policy": policy, "seed": seed, "report": coefficient_report(1.0 + 0.03 * seed),
                "histogram": {"edges": edges, "counts": bell(0.8), "negative": 0.2871},
            }
            for policy in POLICIES[1:] for seed in runs
        ],
        "policies": [
            {
                "name": policy, "seed": seed, "objective": "dpo",
                "coefficient": None if policy == "dpo" else coefficient,
                "curve": curve(0.693, 0.61, 300, seed + 3), "cost": cost,
            }
            for policy in POLICIES for seed in runs
        ],
        "rewards": [
            {
                "policy": policy, "seed": seed, "scorer": scorer,
                "used_in_training": scorer == "difference" and "+" in policy,
                "mean": interval(mean[policy][index] + 0.05 * seed, 0.14),
            }
            for policy in mean for index, scorer in enumerate(SCORERS) for seed in runs
        ],
        "lengths": [
            {"policy": policy, "seed": i, "n": 240, "empty": 1, "unfinished": 24 + 24 * i, "mean_words": 31.0 + i}
            for policy in POLICIES for i in runs
        ],
        "contrasts": [
            {
                "a": a, "b": b, "scorer": scorer, "seed": "all",
                "mean_gap": interval(mean[a][index] - mean[b][index], 0.121), "win": win, "tie": 0.043,
                "lose": 0.957 - win,
            }
            for a, b, win in (("dpo+difference", "dpo", 0.527), ("dpo+difference", "dpo+shuffled", 0.541),
                              ("dpo", "base", 0.702))
            for index, scorer in enumerate(SCORERS)
        ],
        "samples": [
            {
                "prompt": "Human: Why do rivers bend?\n\nAssistant:",
                "responses": {
                    "base": "River river river.", "dpo": HOSTILE, "dpo+difference": LONG, "dpo+shuffled": "",
                },
                "rewards": {
                    "base": {"reward": -1.204, "difference": -0.881}, "dpo": {"reward": 0.417, "difference": 0.202},
                    "dpo+difference": {"reward": 0.633, "difference": 0.718},
                    "dpo+shuffled": {"reward": -2.5, "difference": math.nan},
                },
            },
            {
                "prompt": HOSTILE,
                "responses": {"base": "No.", "dpo": "مرحبا بالعالم", "dpo+difference": "a" * 400,
                    "dpo+shuffled": "好的。"},
                "rewards": {"base": {"reward": 0.1}},
            },
        ],
        "costs": [
            {"stage": stage, "seconds": seconds, "tokens": tokens,
             "tokens_per_second": tokens / seconds if tokens else None, "peak_memory_bytes": memory}
            for stage, seconds, tokens, memory in (
                ("prepare", 0.84, None, 210_000_000), ("train reward", 402.2, 1_204_331, 3_400_000_000),
                ("train difference", 311.9, 1_004_331, 3_200_000_000), ("score", 48.0, 400_123, 1_900_000_000),
                ("train policies", 1925.0, 5_204_331, 5_400_000_000), ("sample", 733.0, 104_331, 2_900_000_000),
                ("evaluate", 61.0, 209_000, 1_900_000_000),
            )
        ],
        "summary": {
            "scorers": [
                {"name": name, "kind": name, "seeds": seeds,
                 "accuracy": interval(0.709 + 0.02 * (name == "difference"), 0.031, 428)}
                for name in SCORERS
            ],
            "policies": [
                {"name": policy, "seeds": seeds,
                 "rewards": {s: interval(mean[policy][i] + 0.025 * (seeds - 1), 0.11) for i, s in enumerate(SCORERS)}}
                for policy in mean
            ],
        },
        "notes": [
            "Weighting DPO by differences gave a mean reward of 0.266 against 0.178 under the reward model that "
            "trained neither; the intervals overlap, so no difference is shown at this scale.",
            "Samples are greedy, 64 new tokens at most.",
        ],
    }  # fmt: skip


LEDGER: dict[str, Any] = {
    "total": 3120, "kept": 3088,
    "dropped": {
        "empty_response": {"count": 3, "examples": [{"source": "train.jsonl:17", "id": "q17", "detail": "rejected"}]},
        "identical_responses": {
            "count": 29, "examples": [{"source": "train.jsonl:104", "id": "", "detail": "<b>same</b>"}],
        },
    },
    "changed": {"prompt_cut": {"count": 1041, "examples": [{"source": "train.jsonl:2", "id": "", "detail": "to 256"}]}},
}  # fmt: skip


def without(source: dict[str, Any], *path: Any) -> dict[str, Any]:
    """A copy that lacks the entry at the path."""
    copied = copy.deepcopy(source)
    inner: Any = copied
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return copied
