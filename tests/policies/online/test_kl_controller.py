"""β: fixed or adaptive, by hand; what cannot hold a policy is refused."""

from __future__ import annotations

import json
import math

import pytest

from rewarddiff.errors import UserError
from rewarddiff.policies.online.kl import KLConfig, KLController

ADAPTIVE = KLConfig(kl_coef=0.1, target_kl=4.0, horizon=1000)


@pytest.mark.parametrize(
    ("kl", "error"),
    # (KL − 4)/4, held between −0.2 and 0.2.
    [(4.0, 0.0), (4.4, 0.1), (3.6, -0.1), (40.0, 0.2), (-1.0, -0.2)],
)
def test_one_update_by_hand(kl: float, error: float) -> None:
    # 50 responses of a horizon of 1000: β·(1 + error/20).
    controller = KLController.begin(ADAPTIVE).update(kl, n_steps=50)
    assert controller.value == pytest.approx(0.1 * (1 + error / 20))


def test_a_fixed_coefficient_stays() -> None:
    controller = KLController.begin(KLConfig(kl_coef=0.3))
    assert controller.update(1e9, n_steps=10**9) == controller


def test_it_finds_the_coefficient_that_holds_the_target() -> None:
    # A policy whose KL is 1/β is at its target 4 with β = ¼, from either side.
    for start in (0.02, 2.0):
        controller = KLController.begin(KLConfig(kl_coef=start, target_kl=4.0, horizon=1000))
        for _ in range(2000):
            controller = controller.update(1 / controller.value, n_steps=50)
        assert controller.value == pytest.approx(0.25, rel=1e-3)


def test_it_resumes_to_the_bit() -> None:
    controller = KLController.begin(ADAPTIVE)
    for kl in (1.0, 7.3, 4.1):
        controller = controller.update(kl, n_steps=33)
    resumed = KLController(ADAPTIVE, json.loads(json.dumps(controller.value)))
    assert resumed.update(5.7, n_steps=33) == controller.update(5.7, n_steps=33)


def test_updates_that_are_refused() -> None:
    controller = KLController.begin(ADAPTIVE)
    with pytest.raises(ValueError, match="the KL is nan"):
        controller.update(math.nan, n_steps=1)
    # 5 000 responses with an error of −0.2 would make β 0.
    with pytest.raises(ValueError, match="below 5000"):
        controller.update(0.0, n_steps=5000)


def test_k1_in_the_loss_holds_nothing() -> None:
    with pytest.raises(UserError, match="k1 in the loss"):
        KLConfig(placement="loss", kl_estimator="k1")
    for estimator in ("k2", "k3"):
        assert KLConfig(placement="loss", kl_estimator=estimator).placement == "loss"  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"kl_coef": -0.1}, {"target_kl": 0.0}, {"horizon": 0}])
def test_options_outside_their_range(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, UserError), match="should be"):
        KLConfig(**options)  # type: ignore[arg-type]


def test_a_horizon_that_a_turn_could_outrun_is_refused() -> None:
    # The error is at most 0.2: 0.2 · 1000 responses of a horizon of 200 would take β to 0.
    config = KLConfig(kl_coef=0.1, target_kl=4.0, horizon=200)
    config.check_horizon(999)
    with pytest.raises(UserError, match="horizon is 200, and a turn has 1000 responses"):
        config.check_horizon(1000)
    KLConfig(kl_coef=0.1, horizon=200).check_horizon(1000)  # a fixed β goes nowhere


def test_nothing_adapts_without_a_reference() -> None:
    with pytest.raises(UserError, match=r"kl\.target_kl: with kl_coef 0"):
        KLConfig(kl_coef=0.0, target_kl=6.0)
