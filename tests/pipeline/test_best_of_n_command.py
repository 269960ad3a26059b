"""`rewarddiff bestof`: drawn once, picked by any scorer, judged by another."""

import json
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.cli import main
from rewarddiff.pipeline import best_of_n_stage
from rewarddiff.scorers.base import Scorer
from rewarddiff.scorers.build import new_scorer, save_scorer
from rewarddiff.scorers.config import ScorerConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "pairs.jsonl"
    rows = [{"prompt": f"Say it {i}", "chosen": f"yes{i}!!!", "rejected": f"no{i}"} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def scorers(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("scorers")
    for seed, kind in enumerate(("reward", "difference", "gold")):
        config = ScorerConfig(kind="difference" if kind == "difference" else "reward", backbone=str(encoder_folder))
        scorer = new_scorer(config, seed=seed)
        scorer.trained = True  # as good as any: nothing is said of what it has learned
        save_scorer(scorer, root / kind)
    return {name: root / name for name in ("reward", "difference", "gold")}


def test_the_command(
    data: Path, scorers: dict[str, Path], policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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


def test_what_is_kept_is_not_drawn_or_read_again(
    data: Path, scorers: dict[str, Path], policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(n: str) -> dict[int, float]:
        found = best_of_n_stage(
            data, policy_folder, [scorers["reward"]], scorers["gold"], tmp_path, [f"n=[{n}]", "max_new_tokens=6"]
        )
        return {row["n"]: row["gold"]["value"] for row in found["rows"]}

    first = run("1,2,4")
    monkeypatch.setattr("rewarddiff.sampling.generate._continue", lambda *_, **__: pytest.fail("drawn again"))
    monkeypatch.setattr(Scorer, "_compute", lambda *_, **__: pytest.fail("scored again"))
    assert run("1,2,4") == pytest.approx(first)
    fewer = run("1,2")  # the first two draws of four
    assert fewer[1] == pytest.approx(0, abs=1e-9)
    assert np.isfinite(fewer[2])
