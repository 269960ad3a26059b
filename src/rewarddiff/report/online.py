"""Policies that learn from their own samples: curves of what they sampled, and how it has changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rewarddiff.report.cells import Cell, Table, filled, texts
from rewarddiff.report.charts import Curves
from rewarddiff.report.document import Section
from rewarddiff.report.figures import Drawing, by_name, colours, panels
from rewarddiff.report.values import count, duration, mean, one_digit, percent, real, setting
from rewarddiff.results import Curve, CurveLine, PolicyResult, Results
from rewarddiff.writing import counted

SCORE = "objective/scores"
REWARD = "reward"
PAIRS = "objective/pairs"
KL = "objective/kl"
KL_COEF = "objective/kl_coef"
ENTROPY = "objective/entropy"
SPREAD = "reward_std"
LENGTH = "completions/mean_length"
TRUNCATED = "completions/clipped_ratio"
UNSCORED = "objective/unscored"
ACCURACY = "rewards/accuracies"

SHOWN = (
    (SCORE, "score r"),
    (SPREAD, "spread"),
    (PAIRS, "pairs"),
    (KL, "KL, nats"),
    (KL_COEF, "β"),
    (ENTROPY, "entropy, nats"),
    (LENGTH, "tokens"),
    (TRUNCATED, "truncated"),
    (ACCURACY, "accuracy"),
)
"""Metrics of a turn's samples, with what the page calls them."""

PARTS = ("time/sampling", "time/reading", "time/scoring")
"""Seconds of a turn before its updates."""

SHARE = 5
"""The first and the last of so many parts of the turns are held against each other."""


def online_section(results: Results) -> Section:
    """Return the part of the page about policies that learn from their own samples."""
    policies = [policy for policy in results.policies if policy.samples_itself]
    return Section(
        "online",
        "Training on own samples",
        intro=_intro(policies),
        figures=tuple(_curves(results, policies)),
        tables=(_changes(policies), _times(policies)),
    )


def turns(curve: Curve) -> list[CurveLine]:
    """Return one line of each turn, its first: all steps of a turn show the metrics of its samples."""
    first_lines: list[CurveLine] = []
    for line in _steps(curve):
        is_new = not first_lines or _samples_of(line) != _samples_of(first_lines[-1])
        if is_new:
            first_lines.append(line)
    return first_lines


def _steps(curve: Curve) -> list[CurveLine]:
    return [line for line in curve if line["split"] == "train" and LENGTH in line]


def _samples_of(line: CurveLine) -> list[object]:
    """Return what no two turns have in common to the last digit."""
    return [line.get(key) for key in (*PARTS, ENTROPY)]


def _intro(policies: Sequence[PolicyResult]) -> str:
    sentences = [
        "In every turn the policy answers prompts of the training split, a scorer says what each "
        "answer is worth, and the policy takes steps towards the better ones. A turn has one step or "
        "several; plots are by step.",
        "Score r: the mean over a turn's answers, as the scorer gives it.",
        "KL: of a whole answer to the model that training started from, estimated from the answers "
        "drawn; so near 0 it may come out below.",
        "Entropy: −log π of a whole answer.",
        "Truncated: the share cut at the limit of new tokens.",
    ]
    if _measured(policies, SPREAD):
        sentences.append(
            "Spread: standard deviation of the rewards of one prompt's answers; without any, estimators "
            "that compare them learn nothing."
        )
    if _measured(policies, PAIRS):
        sentences.append("Pairs: of a whole draw, which serves all steps until the next.")
    if _measured(policies, KL_COEF):
        sentences.append("β: what a nat of KL costs.")
    if _measured(policies, ACCURACY):
        sentences.append(
            "Accuracy: of a step's pairs, those whose better answer has gained more probability."
        )
    if len({policy.seed for policy in policies}) > 1:
        sentences.append("One line a seed.")
    return " ".join(sentences)


def _measured(policies: Sequence[PolicyResult], key: str) -> bool:
    return any(key in line for policy in policies for line in policy.curve)


def _curves(results: Results, policies: Sequence[PolicyResult]) -> Iterator[Drawing]:
    for seeds in by_name(policies):
        name = seeds[0].name
        metrics = [metric for metric in _metrics(seeds) if _is_shown(seeds, metric[0])]
        caption = _seeds_named(seeds)
        label = f"What {name} sampled: {', '.join(text for _, text in metrics)} by step"
        chart = Curves(panels(seeds, metrics), colours(results)[name])
        yield Drawing(name, caption, chart, label)


def _metrics(seeds: Sequence[PolicyResult]) -> Iterable[tuple[str, str]]:
    """Return the metrics to show; the reward stands for a score that is not known."""
    if _measured(seeds, SCORE):
        return SHOWN
    return ((REWARD, "reward"), *SHOWN)


def _is_shown(seeds: Sequence[PolicyResult], key: str) -> bool:
    """Return whether a metric is worth a panel; a β that is fixed is not."""
    values = {line[key] for run in seeds for line in run.curve if key in line}
    return len(values) > 1 or (bool(values) and key != KL_COEF)


def _seeds_named(seeds: Sequence[PolicyResult]) -> str:
    if len(seeds) > 1:
        return f"{len(seeds)} seeds"
    return f"seed {setting(seeds[0].seed)}"


def _changes(policies: Sequence[PolicyResult]) -> Table:
    """Return a row for the first and for the last turns of each policy."""
    rows = []
    for seeds in by_name(policies):
        curves = [turns(run.curve) for run in seeds]
        size = math.ceil(min(map(len, curves)) / SHARE)
        for when, part in (("first", slice(None, size)), ("last", slice(-size, None))):
            lines = [line for curve in curves for line in curve[part]]
            name = f"{seeds[0].name}, {when} {count(size)}"
            rows.append((Cell(name), *_figures(lines)))
    heads = (
        "policy, turns",
        "score r",
        "reward",
        "spread",
        "KL, nats",
        "β",
        "entropy, nats",
        "tokens",
    )
    columns, shown = filled((*heads, "truncated"), rows)
    return Table(
        "First and last turns",
        columns,
        shown,
        notes=(
            "Means over the answers of these turns, and over seeds where there are several. "
            "Reward: what training is paid by, after its baseline, scale and penalties.",
        ),
    )


def _figures(lines: Sequence[CurveLine]) -> tuple[Cell, ...]:
    entropy = one_digit(_mean(lines, ENTROPY))
    reals = texts(*(real(_mean(lines, key)) for key in (SCORE, REWARD, SPREAD, KL, KL_COEF)))
    of_length = texts(one_digit(_mean(lines, LENGTH)), percent(_mean(lines, TRUNCATED)))
    return (*reals, Cell(entropy), *of_length)


def _times(policies: Sequence[PolicyResult]) -> Table:
    """Return where the time of each training went."""
    rows = []
    for policy in policies:
        of_turns = turns(policy.curve)
        total = _number(_steps(policy.curve)[-1], "seconds")
        parts = [sum(_number(line, key) for line in of_turns) for key in PARTS]
        shares = [percent(part / total) for part in (*parts, total - sum(parts))]
        name = f"{policy.name}, seed {setting(policy.seed)}"
        rows.append(texts(name, count(len(of_turns)), *shares, duration(total)))
    columns = ("policy", "turns", "sampling", "reading", "scoring", "updates", "in all")
    notes = ["Reading: log-probabilities under the policy and its reference, and values."]
    notes += [text for policy in policies for text in _left_out(policy)]
    return Table("Where the time of a turn goes", columns, tuple(rows), notes=tuple(notes))


def _left_out(policy: PolicyResult) -> Iterator[str]:
    """Yield what was not trained on, where anything was not."""
    name = f"{policy.name}, seed {setting(policy.seed)}"
    lines = _steps(policy.curve)
    skipped = sum(1 for line in lines if line.get("skipped"))
    if skipped:
        yield (
            f"{name}: {count(skipped)} of {count(len(lines))} steps were skipped, since nothing was "
            "left to train on."
        )
    unscored = sum(int(_number(line, UNSCORED)) for line in turns(policy.curve) if UNSCORED in line)
    if unscored:
        yield f"{name}: left out, without a score: {counted(unscored, 'answer', count)}."


def _mean(lines: Sequence[Mapping[str, object]], key: str) -> float:
    return mean(_number(line, key) for line in lines)


def _number(line: Mapping[str, object], key: str) -> float:
    value = line.get(key, math.nan)
    assert isinstance(value, int | float)
    return float(value)
