"""Numbers that are not finite; `not_finite.py` plants more than a hundred, here is one of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from not_finite import GOOD, Case, Models, cases, verdict

CHOSEN = (
    "dpo: coefficient nan",
    "rdpo: margin 1e+39",
    "kto: log-probability of the reference",
    "ipo: loss by nan, {'microbatch_tokens': 1, 'batch_size': 4}",
    "simpo: gradient inf, {'max_grad_norm': 1.0, 'microbatch_tokens': 20}",
    "dpo with adapters: a weight nan",
    "odin: gap by inf",
    "difference: a dev row",
    "grpo: reward 1e+308",
    "dpo on samples: difference inf",
    "file: coefficient NaN",
)
BY_NAME = {case.name: case for case in cases()}


@pytest.fixture(scope="module")
def models(policy_folder: Path, encoder_folder: Path) -> Models:
    return Models(str(policy_folder), str(encoder_folder))


@pytest.mark.parametrize("case", [BY_NAME[name] for name in CHOSEN], ids=CHOSEN)
def test_it_stops_before_the_update_and_names_the_row(
    case: Case, models: Models, tmp_path: Path
) -> None:
    came_of_it, line = verdict(case, models, tmp_path)
    assert came_of_it in GOOD, line
