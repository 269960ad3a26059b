"""`rewarddiff bestof`: drawn once, picked by any scorer, judged by another."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.cli import main
from rewarddiff.data import load_groups, prompt_hashes
from rewarddiff.errors import UserError
from rewarddiff.evaluation.best_of_n import kl
from rewarddiff.pipeline import best_of_n, best_of_n_stage
from rewarddiff.pipeline.best_of_n import fit
from rewarddiff.report.best_of_n import _peak
from rewarddiff.results import OverOptimisation, TrainedOn
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "pairs.jsonl"
    rows = [
        {"prompt": f"Say it {i}", "chosen": f"yes{i}!!!", "rejected": f"no{i}"} for i in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def scorers(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("scorers")
    for seed, kind in enumerate(("reward", "difference", "gold")):
        config = ScorerConfig(
            kind="difference" if kind == "difference" else "reward", backbone=str(encoder_folder)
        )
        scorer = new_scorer(config, seed=seed)
        scorer.trained = True  # as good as any: nothing is said of what it has learned
        save_scorer(scorer, root / kind)
    return {name: root / name for name in ("reward", "difference", "gold")}


def test_the_command(
    data: Path,
    scorers: dict[str, Path],
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["bestof", str(data), "--model", str(policy_folder), "--gold", str(scorers["gold"])]
    for name in scorers:
        given += ["--scorer", str(scorers[name])]
    given += ["--output", str(tmp_path)]
    settings = ["n=[1,2,4]", "max_new_tokens=6", "limit=5"]
    assert main([*given, *settings]) == 0
    said = capsys.readouterr().out
    assert "picked by" in said
    assert "best_of_n.html" in said
    found = json.loads((tmp_path / "best_of_n.json").read_text())
    assert found["prompts"] == 5
    rows = {(Path(row["scorer"]).name, row["n"]): row for row in found["rows"]}
    assert len(rows) == 9
    for name in scorers:
        assert rows[name, 1]["gold"]["value"] == pytest.approx(0, abs=1e-9)
        gains = [rows[name, n]["score"]["value"] for n in (1, 2, 4)]
        assert gains == sorted(gains)  # by its own score a pick from more is never worse
    best = {n: max(rows[name, n]["gold"]["value"] for name in scorers) for n in (2, 4)}
    assert all(rows["gold", n]["gold"]["value"] == pytest.approx(best[n]) for n in (2, 4))
    assert rows["gold", 4]["gold"] == rows["gold", 4]["score"]
    page = (tmp_path / "best_of_n.html").read_text()
    assert page.count("<svg") == 2
    assert "<script" not in page


def test_no_figure_is_made_of_rounding_or_lies_outside_its_data(
    data: Path, scorers: dict[str, Path], policy_folder: Path, tmp_path: Path
) -> None:
    """A pick of one gains nothing; the law turns where picks were measured, to log 4 − 3/4 nats, or
    is not told to."""
    names = [scorers["reward"], scorers["difference"], scorers["gold"]]
    found = best_of_n_stage(
        data, policy_folder, names, scorers["gold"], tmp_path, ["n=[1,2,4]", "max_new_tokens=6"]
    )
    for row in found.rows:
        if row.n == 1:
            for gain in (row.score, row.gold):
                assert (gain.value, gain.low, gain.high) == (0, 0, 0)
    for law in found.fits:
        assert law.measured == pytest.approx(math.log(4) - 3 / 4)
        assert math.isnan(law.peak) or 0 <= law.peak <= law.measured
    straight = OverOptimisation("s", 1.0, 1e-4, peak=math.nan, measured=0.64)
    assert _peak(straight) == "not within 0–0.64"
    assert _peak(replace(straight, peak=0.1)) == "0.100"


def test_a_turning_point_outside_the_data_is_no_number() -> None:
    """Gains d(1 − βd) at n = 2 and 4: the turn is at (1/2β)² nats; beyond log 4 − 3/4 = 0.64 it was
    not measured."""
    n = [1, 2, 4]
    for beta, turn in ((1.0, 0.25), (0.1, math.nan)):
        d = np.sqrt(kl(n))
        gains = d * (1 - beta * d)
        law = fit("s", n, gains.tolist())
        assert law.peak == pytest.approx(turn, nan_ok=True)
        assert law.beta == pytest.approx(beta)


def test_prompts_that_a_picking_scorer_was_trained_on_are_left_out(
    data: Path, scorers: dict[str, Path], policy_folder: Path, tmp_path: Path
) -> None:
    knowing = load_scorer(scorers["reward"])
    for count, left in ((2, 4), (6, 6)):
        knowing.prompts = prompt_hashes(load_groups(data, limit=count))
        save_scorer(knowing, tmp_path / "knowing")
        given = [
            data,
            policy_folder,
            [tmp_path / "knowing"],
            scorers["gold"],
            tmp_path / str(count),
        ]
        found = best_of_n_stage(*given, ["n=[1]", "max_new_tokens=1"])
        assert found.prompts == left
        assert found.trained_on == TrainedOn(True, count, left_out=count < 6)
        page = (tmp_path / str(count) / "best_of_n.html").read_text()
        sentence = (
            "2 further prompts are left out"
            if count < 6
            else "trained on the prompts of all 6 prompts"
        )
        assert sentence in page


def test_what_is_kept_is_not_drawn_or_read_again(
    data: Path,
    scorers: dict[str, Path],
    policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(n: str) -> dict[int, float]:
        found = best_of_n_stage(
            data,
            policy_folder,
            [scorers["reward"]],
            scorers["gold"],
            tmp_path,
            [f"n=[{n}]", "max_new_tokens=6"],
        )
        return {row.n: row.gold.value for row in found.rows}

    first = run("1,2,4")
    monkeypatch.setattr(
        "rewarddiff.sampling.generate._continue", lambda *_, **__: pytest.fail("drawn again")
    )
    monkeypatch.setattr(NeuralScorer, "_compute", lambda *_, **__: pytest.fail("scored again"))
    assert run("1,2,4") == pytest.approx(first)
    fewer = run("1,2")  # the first two draws of four
    assert fewer[1] == pytest.approx(0, abs=1e-9)
    assert np.isfinite(fewer[2])


def test_a_judge_that_is_not_there_is_missed_before_anything_is_drawn(
    data: Path,
    scorers: dict[str, Path],
    policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(best_of_n, "drawn_by", lambda *_: pytest.fail("drawn"))
    with pytest.raises(UserError, match=r"^length: no such folder"):
        best_of_n_stage(data, policy_folder, [scorers["reward"]], "length", tmp_path / "o")
