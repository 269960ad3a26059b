"""A scorer by the text that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewarddiff.errors import UserError
from rewarddiff.scorers.grades import DataGrades
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.scorers.neural.build import save_scorer
from rewarddiff.scorers.neural.scorer import RewardModel
from rewarddiff.scorers.opening import fingerprint_of, is_model, open_scorer
from rewarddiff.scoring.identity import identity_of
from tests.scorers.conftest import make


def test_kinds_without_options_go_by_their_names() -> None:
    assert open_scorer("length") == LengthScorer()
    assert open_scorer("grades") == DataGrades()
    assert fingerprint_of("length") != fingerprint_of("grades")
    assert not any(map(is_model, ("length", "grades", "http://host:1", "https://host")))
    with pytest.raises(UserError, match=r"^remote: a scorer of this kind needs url"):
        open_scorer("remote")


def test_a_folder_is_opened_and_told_from_another(folders: dict[str, Path], tmp_path: Path) -> None:
    scorer = make(folders["decoder"], kind="reward")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "a")
    scorer.temperature = 3.0
    save_scorer(scorer, tmp_path / "b")
    assert is_model(tmp_path / "a")
    opened = open_scorer(tmp_path / "b")
    assert isinstance(opened, RewardModel)
    assert opened.temperature == 3.0
    assert fingerprint_of(tmp_path / "a") != fingerprint_of(tmp_path / "b")
    # Of a scorer in memory as well: what it says hangs on its temperature, too.
    assert identity_of(opened) != identity_of(open_scorer(tmp_path / "a"))
    assert identity_of(opened) == identity_of(open_scorer(tmp_path / "b"))


def test_where_nothing_is_one_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        open_scorer(tmp_path / "nowhere")
