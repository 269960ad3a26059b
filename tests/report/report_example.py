"""Made-up results as the pipeline gives them, with hostile text where people's text goes."""

import math
from dataclasses import replace
from typing import Any

from rewarddiff.results import (
    MAJORITY,
    UNKNOWN,
    Agreement,
    Antisymmetry,
    AspectAccuracy,
    AttackRate,
    Baseline,
    Baselines,
    Bin,
    ByLength,
    ByOrder,
    Calibrated,
    Canary,
    CaseStudy,
    CoefficientReport,
    CoefficientResult,
    Contrast,
    Cost,
    Curve,
    Data,
    Distribution,
    Evaluation,
    FirstOfList,
    HeadSpread,
    Histogram,
    Interval,
    JudgeAgreement,
    JudgeResults,
    JudgeUse,
    LedgerCounts,
    LengthControl,
    Overlap,
    PanelAgreement,
    Place,
    PolicyResult,
    PolicySummary,
    PromptSamples,
    Rank,
    Results,
    RewardDistribution,
    RewardHistograms,
    RewardMean,
    SampleLengths,
    ScorerResult,
    ScorerSummary,
    SplitCounts,
    StageCost,
    SubsetAccuracy,
    Summary,
    Tally,
    WinRate,
)

HOSTILE = (
    '</div></style><script>alert("x")</script><img src=x onerror=alert(1)> & "quotes" '
    "'single' {{ 7*7 }} $x_1$"
)
LONG = ("The quick brown fox explains, at some length, why rivers bend. " * 60).strip()
SCORERS = ("reward", "difference")
POLICIES = ("dpo", "dpo+difference", "dpo+shuffled")

MEANS = {
    "base": {"reward": -0.412, "difference": -0.287},
    "dpo": {"reward": 0.153, "difference": 0.094},
    "dpo+difference": {"reward": 0.241, "difference": 0.377},
    "dpo+shuffled": {"reward": 0.131, "difference": 0.102},
}

STAGES = (
    ("prepare", 0.84, None, 210_000_000),
    ("train reward", 402.2, 1_204_331, 3_400_000_000),
    ("train difference", 311.9, 1_004_331, 3_200_000_000),
    ("score", 48.0, 400_123, 1_900_000_000),
    ("train policies", 1925.0, 5_204_331, 5_400_000_000),
    ("sample", 733.0, 104_331, 2_900_000_000),
    ("evaluate", 61.0, 209_000, 1_900_000_000),
)


def interval(value: float, half: float, n: int = 240) -> Interval:
    return Interval(value, value - half, value + half, n)


def share(value: float, n: int) -> Interval:
    half = 0.9 / n**0.5
    return Interval(value, max(value - half, 0.0), min(value + half, 1.0), n)


def cost(**figures: Any) -> Cost:
    nothing = {"peak_gpu_memory_bytes": None}
    return Cost.measured({**nothing, **figures})


TRAINING = cost(
    seconds=421.7, tokens=1_204_331, tokens_per_second=2856.0, peak_memory_bytes=3_400_000_000
)

NO_LEDGER = LedgerCounts(0, 0, {}, {})

LEDGER = LedgerCounts(
    total=3120,
    kept=3088,
    dropped={
        "empty_response": Tally(3, (Place("train.jsonl:17", "q17", "rejected"),)),
        "identical_responses": Tally(29, (Place("train.jsonl:104", "", "<b>same</b>"),)),
    },
    changed={"prompt_cut": Tally(1041, (Place("train.jsonl:2", "", "to 256"),))},
)


def curve(start: float, end: float, steps: int, seed: int) -> Curve:
    lines = []
    for step in range(1, steps + 1):
        fade = math.exp(-3 * step / steps)
        wave = 0.06 * math.sin(2.3 * step + seed) * (1 + fade)
        train = {"split": "train", "lr": 1e-6, "grad_norm": 1.5, "tokens": 2048}
        train |= {"step": step, "epoch": step / steps, "loss": end + (start - end) * fade + wave}
        for key in ("accuracy", "rewards/accuracies"):
            train[key] = 0.72 - 0.2 * fade - wave
        lines.append(train)
        if step % (steps // 5) == 0:
            loss = end + 0.03 + 0.01 * seed + (start - end) * fade
            dev = {"split": "dev", "step": step, "epoch": step / steps, "loss": loss}
            for key in ("accuracy", "rewards/accuracies"):
                dev[key] = 0.69 - 0.17 * fade
            lines.append(dev)
    return tuple(lines)


def baseline() -> Baseline:
    agreement = Agreement(
        accuracy=interval(0.561, 0.047, 428),
        by_strength=(),
        spearman_strength=UNKNOWN,
        spearman_strength_oriented=UNKNOWN,
        by_length=ByLength(UNKNOWN, UNKNOWN, 4),
        subsets=2,
        by_subset=(),
        macro_accuracy=math.nan,
        best_of_n=FirstOfList(UNKNOWN, math.nan, math.nan, 0),
        rm_bench=None,
    )
    return Baseline(nll=0.69, ece=0.01, **vars(agreement))


def evaluation(accuracy: float, seed: int, *, twice: bool) -> Evaluation:
    """Figures of a reward model, or of a difference model that reads every pair twice."""
    evaluation = Evaluation(
        trained_on=Overlap(True, 0, False, 0),
        n=428,
        n_groups=240,
        ties=22,
        undecided=0,
        unscored=0,
        accuracy=interval(accuracy, 0.043, 428),
        by_strength=tuple(
            Bin(at, at, share(value, n))
            for at, value, n in ((1, 0.603, 188), (2, 0.691, 130), (3, 0.804, 77), (4, 0.913, 33))
        ),
        spearman_strength=Interval.unbounded(0.337, 428),
        spearman_strength_oriented=Interval.unbounded(0.41, 428),
        by_length=ByLength(interval(0.641, 0.07, 188), interval(0.778, 0.05, 236), 4),
        subsets=2,
        by_subset=(
            SubsetAccuracy("chat", interval(0.752, 0.05, 300), UNKNOWN),
            SubsetAccuracy("maths", interval(0.625, 0.09, 128), UNKNOWN),
        ),
        macro_accuracy=0.6885,
        best_of_n=FirstOfList(interval(0.512, 0.09, 120), 0.2504, 4.0, 0),
        rm_bench=None,
        accuracy_by_order=ByOrder(accuracy - 0.01, accuracy + 0.01),
        mean=0.83,
        std=1.61,
        mean_abs=1.37,
        mean_abs_ties=0.88,
        nll=0.584,
        by_bin=(
            Bin(0, 1, share(0.574, 212)),
            Bin(1, 2, share(0.717, 121)),
            Bin(2, 3, share(0.853, 61)),
            Bin(3, math.inf, share(0.941, 34)),
        ),
        ece=0.0613 + 0.003 * seed,
        temperature=1.274,
        ece_tempered=0.0287,
        calibrated=Calibrated(math.nan, math.nan, math.nan),
        antisymmetry=Antisymmetry(0.11, 0.74, 0.0803),
        spread=HeadSpread(0.613, 0.704, 0.681),
        by_aspect=(),
        rewards=RewardHistograms(math.nan, math.nan, (), (), ()),
        baselines=Baselines(interval(0.561, 0.047, 428), baseline(), baseline()),
        histogram=Histogram((), (), 0),
        cut=None,
    )
    if twice:
        return evaluation
    return replace(
        evaluation,
        accuracy_by_order=ByOrder(math.nan, math.nan),
        antisymmetry=Antisymmetry(math.nan, math.nan, math.nan),
        spread=HeadSpread(math.nan, math.nan, math.nan),
        by_aspect=(AspectAccuracy("chat", interval(0.767, 0.05, 300), interval(0.752, 0.05, 300)),),
        rewards=RewardHistograms(1.214, 2.051, (-3, 0, 3), (100, 328), (260, 168)),
    )


def scorer(name: str, seed: int) -> ScorerResult:
    return ScorerResult(
        name=name,
        scorer=name,
        test="test",
        kind=name,
        seed=seed,
        backbone="tiny-decoder",
        fingerprint=f"{name}-{seed}",
        evaluation=evaluation(0.714 - 0.01 * seed, seed, twice=name == "difference"),
        curve=curve(0.71, 0.52, 40, seed),
        cost=TRAINING,
        ledger=NO_LEDGER,
    )


def scorer_summary(name: str, seeds: int) -> ScorerSummary:
    is_difference = name == "difference"
    return ScorerSummary(
        name=name,
        kind=name,
        seeds=seeds,
        accuracy=interval(0.709 + 0.02 * is_difference, 0.031, 428),
        spearman_strength=Interval.unbounded(0.337, 428),
        spearman_strength_oriented=0.41,
        ece=0.0613 + 0.003 * (seeds - 1) / 2,
        temperature=1.274,
        ece_tempered=0.0287,
        mean=0.83,
        std=1.61,
        antisymmetry=0.0803 if is_difference else math.nan,
        longer_wins=interval(0.561, 0.047, 428),
    )


MARKS = {"0": -4.1, "0.05": -1.62, "0.25": -0.18, "0.5": 0.77, "0.75": 1.81, "0.95": 3.66, "1": 7.2}


def coefficients(policy: str, seed: int) -> CoefficientResult:
    scale = 1.0 + 0.03 * seed
    weights = {mark: max(value, 0.0) * scale for mark, value in MARKS.items()}
    edges = [-4 + 0.25 * i for i in range(49)]
    bell = [round(420 * math.exp(-(((edge + 0.125 - 0.8) / 1.9) ** 2))) for edge in edges[:-1]]
    report = CoefficientReport(
        n=2400,
        n_kept=2400,
        share_negative=0.2871,
        share_dropped=0.0,
        share_flipped=0.0,
        share_zero=0.2871,
        share_unscored=0.0,
        effective_share=0.412,
        before=Distribution(0.842, 1.633, MARKS),
        after=Distribution(scale, 0.9 * scale, weights),
        warnings=(),
        spread=None,
        share_doubted=math.nan,
    )
    return CoefficientResult(policy, seed, report, Histogram(tuple(edges), tuple(bell), 689))


def policy(name: str, seed: int) -> PolicyResult:
    coefficient = {"source": "difference", "alpha": 0.5}
    return PolicyResult(
        name=name,
        seed=seed,
        objective="dpo",
        coefficient=None if name == "dpo" else coefficient,
        order=None,
        strength=None,
        curve=curve(0.693, 0.61, 300, seed + 3),
        cost=TRAINING,
        ledger=NO_LEDGER,
    )


def contrast(a: str, b: str, scorer: str, win: float) -> Contrast:
    """Two policies; `difference` had a part in training the weighted ones."""
    return Contrast(
        a=a,
        b=b,
        scorer=scorer,
        used_in_training=scorer == "difference" and "+" in a,
        unequal=(),
        seed="all",
        mean_gap=interval(MEANS[a][scorer] - MEANS[b][scorer], 0.121),
        win=win,
        tie=0.043,
        lose=0.957 - win,
        rate=interval(win + 0.0215, 0.061),
    )


def distribution(policy: str, seed: int, judge: str) -> RewardDistribution:
    """A bell about the policy's mean, with one reward far out."""
    mean = MEANS[policy][judge] + 0.05 * seed
    edges = tuple(-3 + 0.2 * i for i in range(41))
    bell = [round(24 * math.exp(-(((edge + 0.1 - mean) / 0.9) ** 2))) for edge in edges[:-1]]
    bell[-1] += 1
    spread = {"0": -2.4, "0.01": -2.1, "0.05": -1.5, "0.25": -0.5, "0.5": 0.1}
    spread |= {"0.75": 0.8, "0.95": 1.6, "0.99": 2.3, "1": 4.9}
    histogram = Histogram(edges, tuple(bell), sum(bell[:15]))
    return RewardDistribution(policy, seed, judge, Distribution(mean, 0.91, spread), histogram)


SAMPLES = (
    PromptSamples(
        prompt="Human: Why do rivers bend?\n\nAssistant:",
        responses={
            "base": "River river river.",
            "dpo": HOSTILE,
            "dpo+difference": LONG,
            "dpo+shuffled": "",
        },
        rewards={
            "base": {"reward": -1.204, "difference": -0.881},
            "dpo": {"reward": 0.417, "difference": 0.202},
            "dpo+difference": {"reward": 0.633, "difference": 0.718},
            "dpo+shuffled": {"reward": -2.5, "difference": math.nan},
        },
    ),
    PromptSamples(
        prompt=HOSTILE,
        responses={
            "base": "No.",
            "dpo": "مرحبا بالعالم",
            "dpo+difference": "a" * 400,
            "dpo+shuffled": "好的。",
        },
        rewards={"base": {"reward": 0.1}, "dpo": {}, "dpo+difference": {}, "dpo+shuffled": {}},
    ),
)


CASES = tuple(
    CaseStudy("dpo+difference", "dpo", "reward", False, 0, pick, gain, SAMPLES[place])
    for pick, gain, place in (("largest", 1.204, 0), ("median", 0.031, 1), ("smallest", -0.774, 0))
)


# --- judges ---------------------------------------------------------------------------------------


def win_rate(a: str, b: str, judge: str, win: float, *, lose: float = 0.3) -> WinRate:
    tie = 1 - win - lose
    rate = win + tie / 2
    is_panel = judge == MAJORITY
    return WinRate(
        a=a,
        b=b,
        judge=judge,
        seed="all",
        used_in_training=judge == "prometheus",
        n=240,
        scored=231,
        win=share(win, 231),
        tie=share(tie, 231),
        lose=share(lose, 231),
        rate=share(rate, 231),
        worst=rate * 231 / 240,
        best=(rate * 231 + 9) / 240,
        p=0.0123,
        turned=UNKNOWN if is_panel else interval(0.183, 0.05, 231),
        first=math.nan if is_panel else 0.712,
        longer=interval(0.634, 0.06, 190),
        length_controlled=LengthControl(
            interval(rate - 0.04, 0.08, 231), "" if is_panel else "few decided verdicts (41)"
        ),
        unscored={"off_menu": 6, "refusal": 3},
    )


def judges() -> JudgeResults:
    """Return three judges and people on three policies; one falls for a boast."""
    names = ("gpt", "prometheus", "qwen")
    rates = []
    for a, b, win in (("dpo+difference", "dpo", 0.46), ("dpo", "base", 0.61)):
        for place, judge in enumerate((*names, MAJORITY)):
            rates.append(win_rate(a, b, judge, win - 0.03 * place))
    return JudgeResults(
        win_rates=tuple(rates),
        agreements=tuple(
            JudgeAgreement(
                a=a,
                b=b,
                n=231,
                percent=interval(0.731, 0.05, 231),
                kappa=interval(0.552, 0.08, 231),
                kappa_weighted=interval(0.604, 0.08, 231),
                alpha=interval(0.551, 0.08, 231),
            )
            for a, b in (("gpt", "prometheus"), ("gpt", "qwen"), ("gpt", "people"))
        ),
        panels=(
            PanelAgreement(
                "judges",
                3,
                231,
                interval(0.537, 0.06, 231),
                interval(0.611, 0.06, 231),
                UNKNOWN,
                interval(0.541, 0.06, 231),
            ),
        ),
        ranking=tuple(
            Rank(judge, policy, interval(strength, 0.21), rate)
            for judge in ("gpt", MAJORITY)
            for policy, strength, rate in (
                ("dpo+difference", 0.51, 0.624),
                ("dpo", 0.22, 0.551),
                ("base", -0.73, 0.325),
            )
        ),
        canaries=(
            Canary("gpt", "constant", "base", interval(0.017, 0.017, 30), 30, alarming=False),
            Canary("qwen", "boast", "base", interval(0.65, 0.16, 30), 30, alarming=True),
        ),
        attacks=(
            AttackRate("base", "gpt", share(0.42, 100), 100, 97, {"status 400": 3}),
            AttackRate("dpo+difference", "gpt", share(0.23, 100), 100, 100, {}),
        ),
        uses=tuple(
            JudgeUse(
                judge=judge,
                kind="judge",
                model=model,
                calls=962,
                kept=12,
                prompt_tokens=611_204,
                completion_tokens=48_110,
                price=price,
                estimated_price=price,
                failures={"off_menu": 6, "timeout": 2},
                seconds=611.0,
            )
            for judge, model, price in (
                ("gpt", "gpt-4o-mini at api.example.org", 0.1206),
                ("qwen", "qwen at 127.0.0.1:8000", None),
            )
        ),
    )


def judging() -> Results:
    """Return what `rewarddiff judge` finds: policies held against each other, and no scorer."""
    samples = []
    for sample, outcome in zip(SAMPLES, ("win", "tie"), strict=True):
        responses = {name: sample.responses[name] for name in ("dpo+difference", "dpo")}
        verdicts = {"gpt": outcome, "qwen": "unscored", MAJORITY: outcome}
        samples.append(PromptSamples(sample.prompt, responses, {}, verdicts))
    return replace(
        empty(),
        command="judge",
        name="dpo+difference against dpo",
        judges=judges(),
        samples=tuple(samples),
    )


def empty() -> Results:
    """Return results that say nothing."""
    return Results(
        command="run",
        name="demo <&> friends",
        version="0.1.0",
        created="2025-03-02T10:11:12+00:00",
        recipe=None,
        machine={},
        data=Data({}, NO_LEDGER, tests={}, contents={}, prompts=""),
        scorers=(),
        scorer_contrasts=(),
        orders=(),
        coefficients=(),
        policies=(),
        rewards=(),
        lengths=(),
        contrasts=(),
        judges=JudgeResults.none(),
        samples=(),
        costs=(),
        summary=Summary((), ()),
        notes=(),
        seconds=math.nan,
    )


def results(seeds: int = 2) -> Results:
    """Return two scorers, three policies and `seeds` seeds."""
    runs = range(seeds)
    return replace(
        empty(),
        recipe={
            "name": "demo",
            "data": {"source": "demo", "limit": None},
            "scorers": {"difference": {"lr": 1e-5, "note": HOSTILE}},
            "seeds": list(runs),
        },
        machine={"cpu": "Example CPU @ 2.0 GHz", "cores": 2, "gpu": None, "torch": "2.13.0"},
        data=Data(
            splits={
                "train": SplitCounts(1312, 2400, 0),
                "dev": SplitCounts(151, 260, 0),
                "test": SplitCounts(240, 428, 0),
            },
            ledger=LEDGER,
            tests={},
            contents={"test": "5f0c"},
            prompts="8a1d",
        ),
        scorers=tuple(scorer(name, seed) for name in SCORERS for seed in runs),
        coefficients=tuple(coefficients(name, seed) for name in POLICIES[1:] for seed in runs),
        policies=tuple(policy(name, seed) for name in POLICIES for seed in runs),
        rewards=tuple(
            RewardMean(
                policy=name,
                seed=seed,
                scorer=judge,
                used_in_training=judge == "difference" and "+" in name,
                mean=interval(mean + 0.05 * seed, 0.14),
            )
            for name, by_judge in MEANS.items()
            for judge, mean in by_judge.items()
            for seed in runs
        ),
        lengths=tuple(
            SampleLengths(
                policy=name, seed=i, n=240, empty=1, unfinished=24 + 24 * i, mean_words=31.0 + i
            )
            for name in POLICIES
            for i in runs
        ),
        contrasts=tuple(
            contrast(a, b, judge, win)
            for a, b, win in (
                ("dpo+difference", "dpo", 0.527),
                ("dpo+difference", "dpo+shuffled", 0.541),
                ("dpo", "base", 0.702),
            )
            for judge in SCORERS
        ),
        judges=JudgeResults.none(),
        samples=SAMPLES,
        reward_distributions=tuple(
            distribution(name, seed, judge) for seed in runs for judge in SCORERS for name in MEANS
        ),
        cases=CASES,
        costs=tuple(
            StageCost(
                stage=stage,
                **vars(
                    cost(
                        seconds=seconds,
                        tokens=tokens,
                        tokens_per_second=tokens / seconds if tokens else None,
                        peak_memory_bytes=memory,
                    )
                ),
            )
            for stage, seconds, tokens, memory in STAGES
        ),
        summary=Summary(
            scorers=tuple(scorer_summary(name, seeds) for name in SCORERS),
            policies=tuple(
                PolicySummary(
                    name,
                    seeds,
                    {j: interval(mean + 0.025 * (seeds - 1), 0.11) for j, mean in by_judge.items()},
                    trained=None,
                )
                for name, by_judge in MEANS.items()
            ),
        ),
        notes=(
            "Weighting DPO by differences gave a mean reward of 0.266 against 0.178 under the "
            "reward model that trained neither; the intervals overlap, so no difference is shown "
            "at this scale.",
            "Samples are greedy, 64 new tokens at most.",
        ),
    )
