"""The figures of one scorer, from a handful of comparisons that can be worked by hand."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass, replace

import numpy as np
import pytest
from scipy import stats

from rewarddiff.evaluation.calibration import Calibration, calibrate
from rewarddiff.evaluation.scored import ScoredComparison, held_out_comparisons
from rewarddiff.evaluation.scorers import evaluate_differences
from rewarddiff.evaluation.side_by_side import side_by_side
from rewarddiff.records import STYLES
from rewarddiff.report.scorer_statements import overlap_remark
from rewarddiff.results import Calibrated, Evaluation, HeadSpread, Interval, Overlap, plain, read


def test_figures_by_hand() -> None:
    comparisons = [
        ScoredComparison(
            "p1", d=3.0, d_swapped=-1.0, strength=5, chosen_length=10, rejected_length=5
        ),  # d̄ = 2
        ScoredComparison(
            "p1", d=1.0, d_swapped=2.0, strength=1, chosen_length=4, rejected_length=5
        ),  # d̄ = −½
        ScoredComparison(
            "p2", d=0.5, d_swapped=-0.5, strength=3, chosen_length=7, rejected_length=7
        ),  # d̄ = ½
        ScoredComparison(
            "p3", d=0.25, d_swapped=0.25, strength=0, chosen_length=1, rejected_length=9
        ),  # a tie
    ]
    figures = evaluate_differences(comparisons)
    assert (figures.n, figures.n_groups, figures.ties, figures.undecided) == (
        3,
        2,
        1,
        0,
    )
    assert figures.accuracy.value == pytest.approx(2 / 3)
    assert figures.accuracy.n == 3
    assert figures.accuracy_by_order.forward == 1
    assert figures.accuracy_by_order.backward == pytest.approx(2 / 3)
    assert figures.mean == pytest.approx(2 / 3)
    assert figures.mean_abs == pytest.approx(1)
    assert figures.mean_abs_ties == 0
    assert [(b.low, b.high, b.accuracy.value) for b in figures.by_bin] == [
        (0, 1.2, 0.5),  # quartiles of ½, ½, 2 at ½, ½ and 1¼; below ½ there is nothing
        (1.2, math.inf, 1.0),
    ]
    assert [(b.low, b.high, b.accuracy.value) for b in figures.by_strength] == [
        (1, 1, 0.0),
        (3, 3, 1.0),
        (5, 5, 1.0),
    ]
    assert figures.antisymmetry.mean == pytest.approx((2 + 3 + 0) / 3)
    # |d̄| = 2, ½, ½, 0 against 5, 1, 3, 0: ranks 4, 2½, 2½, 1 and 4, 2, 3, 1; Pearson of the ranks
    # is (1.5·1.5 + 0 + 0 + 1.5·1.5)/√(4.5·5) = 4.5/√22.5.
    assert figures.spearman_strength.value == pytest.approx(4.5 / math.sqrt(22.5))
    assert figures.spearman_strength_oriented.value == pytest.approx(1)
    assert figures.baselines.longer_wins.value == 0.5


def test_no_data_is_null_in_strict_json() -> None:
    figures = evaluate_differences([])
    text = json.dumps(plain(figures), allow_nan=False)
    assert repr(read(Evaluation, json.loads(text))) == repr(figures)  # NaN is not equal to NaN
    assert figures.n == 0
    assert json.loads(text)["accuracy"] == {"value": None, "low": None, "high": None, "n": 0}
    for unknown in (figures.ece, figures.temperature, figures.spearman_strength.value):
        assert math.isnan(unknown)


def test_a_reward_model_has_no_second_reading() -> None:
    comparisons = [
        ScoredComparison(f"p{i}", d=1.0, chosen_length=2, rejected_length=1) for i in range(3)
    ]
    figures = evaluate_differences(comparisons)
    assert figures.accuracy.value == 1
    assert math.isnan(figures.antisymmetry.relative)
    assert math.isnan(figures.accuracy_by_order.backward)
    assert figures.by_strength == ()


def test_an_overconfident_scorer_is_mended_by_a_temperature_from_other_prompts() -> None:
    draw = np.random.default_rng(0)
    true = draw.normal(0, 1.5, 4000)
    label = np.where(draw.random(true.size) < 1 / (1 + np.exp(-true)), 1, -1)
    figures = evaluate_differences(
        [
            ScoredComparison(
                f"p{i}", d=float(d), strength=float(i), chosen_length=1, rejected_length=1
            )
            for i, d in enumerate(4 * true * label, start=1)
        ],
        resamples=100,
    )
    assert figures.temperature == pytest.approx(4, rel=0.1)
    assert figures.ece_tempered < 0.03 < 0.15 < figures.ece
    assert figures.accuracy.low < figures.accuracy.value < figures.accuracy.high
    assert [b.accuracy.n for b in figures.by_strength] == [800] * 5  # many strengths: quintiles


def test_no_comparison_is_judged_by_a_temperature_it_helped_to_fit() -> None:
    # |d| = 5 throughout; one prompt is right 6 times of 8, the other 7. Each alone would be
    # calibrated, at ¾ and ⅞; judged by the other's temperature both are off by ⅛. Two prompts in
    # the same half leave nothing to fit on.
    def prompt(name: str, right: int) -> list[ScoredComparison]:
        return [ScoredComparison(name, 5.0 if i < right else -5.0, 1, 1) for i in range(8)]

    errors = {
        evaluate_differences(prompt("a", 6) + prompt(f"b{i}", 7), resamples=2).ece_tempered
        for i in range(12)
    }
    known = [error for error in errors if not math.isnan(error)]
    assert 0 < len(known) < len(errors)
    assert known == pytest.approx([1 / 8] * len(known))


def test_accuracy_by_length() -> None:
    lengths = [(1.0, 2, 9), (-1.0, 3, 4), (1.0, 9, 2), (2.0, 9, 8), (0.0, 9, 1), (-1.0, 5, 5)]
    found = evaluate_differences([ScoredComparison(f"p{i}", *own) for i, own in enumerate(lengths)])
    assert (found.by_length.shorter.value, found.by_length.shorter.n) == (0.5, 2)
    assert (found.by_length.longer.value, found.by_length.longer.n) == (
        pytest.approx(2.5 / 3),
        3,
    )
    assert found.by_length.equal == 1
    constant = found.baselines.constant
    assert (constant.accuracy.value, constant.nll, constant.ece) == (
        0.5,
        pytest.approx(math.log(2)),
        0,
    )
    length = found.baselines.length.by_length
    assert (length.shorter.value, length.longer.value) == (0, 1)


def test_a_scorer_that_reads_length_is_the_length_baseline() -> None:
    draw = np.random.default_rng(1)
    lengths = np.sort(draw.integers(1, 200, (60, 2)))
    lengths[:42] = lengths[:42, ::-1]  # the longer response is the better one in seven of ten
    strengths = draw.integers(1, 5, 60).astype(float)
    comparisons = [
        ScoredComparison(f"p{i}", float(np.log1p(a) - np.log1p(b)), int(a), int(b), strength)
        for i, ((a, b), strength) in enumerate(zip(lengths, strengths, strict=True))
    ]
    found = evaluate_differences(comparisons)
    length = found.baselines.length
    assert length.ece == pytest.approx(found.ece_tempered)
    assert length.spearman_strength.value == pytest.approx(found.spearman_strength.value)
    assert found.baselines.longer_wins.value == pytest.approx(found.accuracy.value)


def test_doubt_by_hand() -> None:
    """|d| over spread: right 2, 6 and wrong 1, 3, so 3 of 4 pairs; |d| alone: right 1, 3 and wrong
    2, 3, 1½ of 4."""
    said = [(1.0, 0.5, 1.0), (3.0, 0.5, 1.0), (-2.0, 2.0, 1.0), (-3.0, 1.0, 1.0), (9.0, 9.0, 0.0)]
    comparisons = [
        ScoredComparison(
            f"p{i}", d=d, strength=strength, chosen_length=1, rejected_length=1, spread=spread
        )
        for i, (d, spread, strength) in enumerate(said)
    ]
    spread = evaluate_differences(comparisons).spread
    assert spread == HeadSpread(pytest.approx(1.0), pytest.approx(0.75), pytest.approx(1.5 / 4))
    without = [ScoredComparison("p", d=1.0, chosen_length=1, rejected_length=1)]
    assert math.isnan(evaluate_differences(without).spread.mean)


def test_probabilities_at_the_scorers_own_temperature() -> None:
    """All of d = ±2 ln 3 at T = 2: the scorer says 3/4 of each, and is right in three of four."""
    said = [
        ScoredComparison(f"p{i}", 2 * math.log(3) * sign, 1, 2)
        for i, sign in enumerate((1, 1, 1, -1))
    ]
    found = evaluate_differences(said, temperature=2.0).calibrated
    nll = -(3 * math.log(3 / 4) + math.log(1 / 4)) / 4
    assert found == Calibrated(2.0, pytest.approx(nll), pytest.approx(0, abs=1e-12))
    assert math.isnan(evaluate_differences(said).calibrated.temperature)


def test_the_head_of_a_part_is_measured_on_its_part() -> None:
    """(d, d of the part's head): of the harmless two, all heads together get one right, their own
    both."""
    said = [
        ("harmless", 1.0, 2.0),
        ("harmless", -1.0, 0.5),
        ("helpful", 1.0, -1.0),
        ("other", 1.0, None),
    ]
    found = evaluate_differences(
        [
            ScoredComparison(f"p{i}", d, 1, 2, subset=part, aspect=own)
            for i, (part, d, own) in enumerate(said)
        ]
    ).by_aspect
    shares = {part.aspect: (part.own.value, part.weighted.value, part.own.n) for part in found}
    assert shares == {"harmless": (1.0, 0.5, 2), "helpful": (0.0, 1.0, 1)}


def test_parts_of_a_collection() -> None:
    said = [("chat", 1.0), ("chat", 1.0), ("chat", -1.0), ("", 1.0), ("maths", -1.0)]
    found = evaluate_differences(
        [ScoredComparison(f"p{i}", d, 1, 2, subset=part) for i, (part, d) in enumerate(said)]
    )
    parts = {part.subset: part.accuracy.value for part in found.by_subset}
    assert parts == {"(none)": 1, "chat": pytest.approx(2 / 3), "maths": 0}
    assert found.macro_accuracy == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert evaluate_differences([ScoredComparison("p", 1.0, 1, 2, subset="chat")]).by_subset == ()
    names = evaluate_differences(
        [ScoredComparison(f"p{i}", 1.0, 1, 2, subset=f"{i}.txt") for i in range(51)]
    )
    assert (names.subsets, names.by_subset) == (51, ())


def test_best_of_n_by_hand() -> None:
    def pair(
        group: str, chosen: int, rejected: int, d: float, strength: float | None = None
    ) -> ScoredComparison:
        return ScoredComparison(group, d, 1, 2, strength, pair=(chosen, rejected))

    found = evaluate_differences(
        [
            # one best of four, above all three: first
            *(pair("a", 0, place, 1.0) for place in (1, 2, 3)),
            # two best of three; the second of them is above the other one: first
            pair("b", 0, 2, -1.0),
            pair("b", 1, 2, 1.0),
            # one best of three, level with one of them: shares the place
            pair("c", 0, 1, 0.0),
            pair("c", 0, 2, 1.0),
            # one best of three, below one of them; the order of the others does not matter
            pair("d", 0, 1, 5.0),
            pair("d", 0, 2, -0.1),
            pair("d", 1, 2, 5.0),
            # the best is tied with one that another beats: as the scorer holds them, and a tie
            # counts as compared
            pair("e", 1, 0, -2.0, strength=0),
            pair("e", 0, 2, 1.0, strength=1),
            pair("e", 2, 1, 1.0, strength=1),
            # 0 > 1 and 2 > 3: a coin would be right three times of four, so such lists are left out
            pair("f", 0, 1, 1.0),
            pair("f", 2, 3, 1.0),
            # a pair is no list
            pair("g", 0, 1, 1.0),
        ]
    ).best_of_n
    assert (found.first.value, found.first.n) == (
        pytest.approx((1 + 1 + 0.5 + 0 + 1) / 5),
        5,
    )
    assert found.chance == pytest.approx((1 / 4 + 2 / 3 + 1 / 3 + 1 / 3 + 1 / 3) / 5)
    assert found.n == pytest.approx(16 / 5)
    assert found.partial == 1


def test_baselines_have_the_figures_of_scorers() -> None:
    """The constant one is a blind draw from any list; length has what a scorer would that says
    length."""
    draw = np.random.default_rng(2)
    comparisons = [
        ScoredComparison(
            f"p{i}", draw.normal(), *(int(n) for n in draw.integers(1, 50, 2)), pair=(chosen, best + rejected),
            strength=float(draw.integers(1, 4)), subset=f"part {i % 3}",
        )
        for i in range(12)
        for best, others in [(1 + i % 3, 2)]
        for chosen in range(best)
        for rejected in range(others)
    ]  # fmt: skip
    found = evaluate_differences(comparisons, resamples=20)
    constant = found.baselines.constant.best_of_n
    assert constant.first.value == pytest.approx(found.best_of_n.chance)
    by_length = [replace(c, d=float(c.chosen_length - c.rejected_length)) for c in comparisons]
    said, length = evaluate_differences(by_length, resamples=20), found.baselines.length
    for figure in (
        "accuracy",
        "by_strength",
        "by_subset",
        "macro_accuracy",
        "best_of_n",
        "by_length",
    ):
        assert getattr(length, figure) == getattr(said, figure), figure


def test_groups_of_one_prompt_are_resampled_together() -> None:
    """Two prompts, one always right and one never: a mean over prompts is anything from 0 to 1.
    Four rows each."""
    rows = [
        ScoredComparison(f"g{i}", d=1.0 if i < 4 else -1.0, chosen_length=1, rejected_length=1)
        for i in range(8)
    ]
    alone = evaluate_differences(rows)
    together = evaluate_differences(
        [replace(c, prompt="right" if c.d > 0 else "wrong") for c in rows]
    )
    assert (alone.n_groups, together.n_groups) == (8, 2)
    assert alone.accuracy.value == together.accuracy.value == 0.5
    assert (together.accuracy.low, together.accuracy.high) == (0, 1)
    assert 0 < alone.accuracy.low < alone.accuracy.high < 1
    by_prompt = [replace(c, prompt="right" if c.d > 0 else "wrong") for c in rows]
    (agreement,) = side_by_side([by_prompt])
    assert agreement.right.tolist() == [[4, 0]]
    assert agreement.sizes.tolist() == [4, 4]


def styled(
    prompt: str, chosen: Sequence[float], rejected: Sequence[float], subset: str = ""
) -> list[ScoredComparison]:
    """A prompt of RM-Bench with its rewards in the order of styles."""
    return [
        ScoredComparison(
            prompt,
            chosen[i] - rejected[j],
            1,
            1,
            pair=(i, 3 + j),
            styles=(STYLES[i], STYLES[j]),
            subset=subset,
        )
        for i in range(3)
        for j in range(3)
    ]


def test_rm_bench_by_hand() -> None:
    """A scorer that likes show by 1 a style, and the right answer by ½ (or, in the second prompt,
    not at all).

    The first prompt: every easy and normal pair won, no hard one. The second: easy won, normal
    drawn, so lost.
    """
    found = evaluate_differences(
        styled("p", (0.5, 1.5, 2.5), (0, 1, 2), "math") + styled("q", (0, 1, 2), (0, 1, 2), "chat")
    ).rm_bench
    assert [found.easy.value, found.normal.value, found.hard.value] == [1, 0.5, 0]
    assert found.average == 0.5
    assert found.matrix == ((0.5, 0, 0), (1, 0.5, 0), (1, 1, 0.5))
    assert [(part.domain, part.normal.value) for part in found.by_domain] == [
        ("chat", 0),
        ("math", 1),
    ]
    assert (found.easy.n, found.partial) == (6, 0)


def test_rm_bench_is_the_triangles_of_the_matrix() -> None:
    rewards = np.random.default_rng(0).normal(size=(25, 2, 3))
    found = evaluate_differences(
        [c for i, row in enumerate(rewards) for c in styled(f"p{i}", *row)]
    ).rm_bench
    matrix = (rewards[:, 0, :, None] > rewards[:, 1, None, :]).mean(0)
    assert np.allclose(found.matrix, matrix)
    assert found.hard.value == pytest.approx(np.triu(matrix, 1).sum() / 3)
    assert found.normal.value == pytest.approx(np.trace(matrix) / 3)
    assert found.easy.value == pytest.approx(np.tril(matrix, -1).sum() / 3)
    assert found.hard.low < found.hard.value < found.hard.high


def test_rm_bench_counts_domains_alike_and_both_halves_of_safety_as_one() -> None:
    """Three prompts of math all won, one of each half of safety, one of them lost: ½·(1 + ½), not
    (3 + 1)/5."""
    won, lost = ((1, 1, 1), (0, 0, 0)), ((0, 0, 0), (1, 1, 1))
    math_ = [c for name in "abc" for c in styled(name, *won, "math")]
    safety = styled("d", *won, "safety-refuse") + styled("e", *lost, "safety-response")
    found = evaluate_differences(math_ + safety).rm_bench
    assert [part.domain for part in found.by_domain] == ["math", "safety"]
    assert [part.hard.value for part in found.by_domain] == [1, 0.5]
    assert found.average == pytest.approx(0.75)
    assert np.allclose(found.matrix, 0.75)


def test_rm_bench_leaves_out_what_lost_a_style() -> None:
    whole, part = styled("p", (1, 1, 1), (0, 0, 0)), styled("q", (0, 0, 0), (1, 1, 1))[:-1]
    found = evaluate_differences(whole + part).rm_bench
    assert (found.partial, found.hard.n, found.average) == (1, 3, 1)
    assert evaluate_differences([ScoredComparison("p", 1.0, 1, 2)]).rm_bench is None


def test_every_reward_is_in_the_histograms_once() -> None:
    """Scores of 40 and −3 too: a course report's plot left out what was beyond 1 to 30."""
    said = [((0, 1), (40.0, 1.0)), ((0, 2), (40.0, -3.0)), ((1, 2), (1.0, -3.0))]
    found = evaluate_differences(
        [
            ScoredComparison("p", better - worse, 1, 2, pair=pair, rewards=(better, worse))
            for pair, (better, worse) in said
        ]
    ).rewards
    assert (found.mean, found.std) == (
        pytest.approx(38 / 3),
        pytest.approx(np.std([40, 1, -3])),
    )
    assert (found.edges[0], found.edges[-1]) == (-3, 40)
    assert (sum(found.chosen), sum(found.rejected)) == (2, 2)  # 40 and 1; 1 and −3
    assert (found.chosen[-1], found.rejected[0]) == (1, 1)


def said_by(d: Sequence[float], **more: object) -> list[ScoredComparison]:
    """Comparisons of as many prompts."""
    return [ScoredComparison(f"p{i}", value, 1, 2, **more) for i, value in enumerate(d)]  # type: ignore[arg-type]


def test_a_temperature_that_the_comparisons_do_not_tell() -> None:
    """Nine right of nine; none better than chance; nine right of ten, whose T hangs on the tenth
    alone."""
    assert calibrate(said_by([0.5] * 9)) == Calibration(None, ANY_REMARK("all are right"))
    assert calibrate(said_by([1.0, -1.0] * 20)) == Calibration(
        None, ANY_REMARK("no better than chance")
    )
    assert calibrate(said_by([0.5] * 9 + [-0.01])) == Calibration(
        None, ANY_REMARK("hangs on a few")
    )
    assert calibrate([]) == Calibration(None, ANY_REMARK("no comparison"))


class ANY_REMARK(str):
    """Equal to every remark that holds it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in other

    __hash__ = str.__hash__


def test_a_temperature_is_kept_where_it_lowers_the_loss_of_other_prompts() -> None:
    """|d| = 5 and three of four right: T = 5/ln 3, as σ(5/T) = ¾. Of |d| = ln 3 it is 1, which no
    fold does better."""
    sure = calibrate(said_by([5.0, 5.0, 5.0, -5.0] * 20))
    assert (sure.temperature, sure.remark) == (pytest.approx(5 / math.log(3), rel=1e-6), "")
    right = calibrate(said_by([math.log(3) * sign for sign in (1, 1, 1, -1) * 20]))
    assert right == Calibration(1.0, ANY_REMARK("none improves the probabilities"))


def test_a_temperature_is_not_fitted_on_what_was_trained_on() -> None:
    seen, new = (
        said_by([9.0] * 40, trained_on=True),
        said_by([5.0, 5.0, 5.0, -5.0] * 20, trained_on=False),
    )
    assert calibrate(seen + new) == calibrate(new)
    assert calibrate(seen).temperature is None


def test_what_the_scorer_was_trained_on_is_left_out() -> None:
    """Right on all it was trained on, and on one of four others."""
    seen, new = (
        said_by([1.0] * 6, trained_on=True),
        said_by([1.0, -1.0, -1.0, -1.0], trained_on=False),
    )
    new = [replace(c, group=f"new {c.group}") for c in new]
    mixed = evaluate_differences(seen + new)
    assert (mixed.accuracy.value, mixed.n, mixed.n_groups) == (0.25, 4, 4)
    assert mixed.trained_on == Overlap(True, 6, True, 6)
    alone = replace(evaluate_differences(new), trained_on=mixed.trained_on)
    assert repr(mixed) == repr(alone)  # NaN is not equal to NaN
    assert (
        overlap_remark(mixed.trained_on)
        == "Left out are 6 comparisons of 6 prompts that it was trained on."
    )


def test_figures_of_training_are_called_so() -> None:
    only = evaluate_differences(said_by([1.0] * 6, trained_on=True))
    assert (only.n, only.trained_on.left_out) == (6, False)
    assert overlap_remark(only.trained_on).startswith(
        "These are figures of training, not of held-out data"
    )
    unknown = evaluate_differences(said_by([1.0] * 6)).trained_on
    assert overlap_remark(unknown).startswith("Its folder does not say what it was trained on")
    new = evaluate_differences(said_by([1.0] * 6, trained_on=False)).trained_on
    assert overlap_remark(new) == ""


def test_scorers_side_by_side_leave_out_what_either_was_trained_on() -> None:
    ours = [replace(c, trained_on=i == 0) for i, c in enumerate(said_by([1.0, 2.0, 3.0, 4.0]))]
    theirs = [replace(c, trained_on=i == 1) for i, c in enumerate(said_by([5.0, 6.0, 7.0, 8.0]))]
    assert [[c.d for c in said] for said in held_out_comparisons(ours, theirs)] == [[3, 4], [7, 8]]


def test_no_interval_of_figures_is_a_point() -> None:
    """14 prompts of which all is right, as is the longer response; the data has two parts."""
    rows = [
        ScoredComparison(
            f"p{i}", 1.0 + i, 9, 4, strength=1.0 + i, subset="ab"[i % 2], aspect=1.0, pair=pair
        )
        for i in range(14)
        for pair in ((0, 1), (0, 2))
    ]
    figures = evaluate_differences(
        rows + [c for i in range(14) for c in styled(f"s{i}", (9, 9, 9), (1, 1, 1))], resamples=50
    )

    intervals = list(all_intervals(figures))
    assert len(intervals) > 20
    for interval in intervals:
        if interval.bounded:
            assert interval.low < interval.high, interval


def all_intervals(part: object) -> Iterator[Interval]:
    if isinstance(part, Interval):
        yield part
    elif isinstance(part, tuple):
        for inner in part:
            yield from all_intervals(inner)
    elif is_dataclass(part):
        for inner in vars(part).values():
            yield from all_intervals(inner)


def test_rm_bench_all_won_is_no_more_than_1() -> None:
    """Domains of unlike size: in no resample is more than everything won."""
    rows = [
        c
        for i in range(12)
        for c in styled(f"p{i}", (9, 9, 9), (1, 1, 1), "chat" if i < 3 else "math")
    ]
    hard = evaluate_differences(rows, resamples=50).rm_bench.hard
    referee = stats.binomtest(12, 12).proportion_ci(method="wilson")
    assert (hard.value, hard.high) == (1, 1)
    assert hard.low == pytest.approx(referee.low)


def test_the_spread_of_one_is_not_known() -> None:
    figures = evaluate_differences([ScoredComparison("p", 1.0, 1, 2)])
    assert figures.mean == 1
    assert math.isnan(figures.std)
