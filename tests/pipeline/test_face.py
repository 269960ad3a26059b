"""Training a policy from Python."""

from pathlib import Path

import pytest
import torch

import rewarddiff as rd
from rewarddiff.pipeline.commands import train_stage
from rewarddiff.scorers.neural.build import new_scorer


def test_comparisons_of_responses_that_do_not_fit_are_left_out(
    policy_folder: Path, tmp_path: Path
) -> None:
    # 1,000 tokens of the long response and the prompt are beyond the model's 1,024 positions; the
    # others fit
    groups = [
        rd.Group(f"g{i}", f"Say {i} " * 10, ("x" * 1500, "yes", "no"), scores=(3.0, 2.0, 1.0))
        for i in range(4)
    ]
    config = rd.PolicyConfig(train=rd.TrainConfig(precision="fp32", max_steps=1, batch_size=4))
    lengths = rd.LengthConfig(max_response=1000)
    weights = [[1.0] * 3] * 4
    folder = rd.train_policy(
        policy_folder, groups, weights, output=tmp_path, config=config, lengths=lengths
    )
    assert (folder / "model.safetensors").exists()


def test_the_whole_face_shows_and_exists() -> None:
    assert set(rd.__all__) <= set(dir(rd))
    for name in rd.__all__:
        assert getattr(rd, name) is not None
    assert torch.isclose(
        rd.losses.pointwise.nll(torch.tensor([-2.0])), torch.tensor([2.0])
    )  # 2 nats, 4 tokens


def test_the_documented_configs_are_checked_and_taken_by_name() -> None:
    assert rd.PolicyConfig(objective="simpo").objective == rd.SimPO()
    assert rd.ScorerConfig(loss="margin").loss == rd.Margin()
    with pytest.raises(rd.UserError, match=r"'kind' is 'rewrd'.*did you mean 'reward'"):
        rd.ScorerConfig(kind="rewrd")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1.0] * 3] * 3, "coefficients: 3 lists for 4 groups"),
        ([[1.0] * 3] * 5, "coefficients: 5 lists for 4 groups"),
        ([[1.0] * 3] * 3 + [[1.0]], "g3: 3 comparisons, 1 coefficients"),
        (
            [[1.0] * 3] * 3 + [[1.0, float("nan"), 1.0]],
            "g3: coefficients .* should be finite and not negative",
        ),
        (
            [[1.0] * 3] * 3 + [[1.0, -1.0, 1.0]],
            "g3: coefficients .* should be finite and not negative",
        ),
    ],
)
def test_coefficients_that_do_not_fit(
    weights: list[list[float]], message: str, policy_folder: Path, tmp_path: Path
) -> None:
    groups = [
        rd.Group(f"g{i}", f"Say {i}", ("a", "b", "c"), scores=(3.0, 2.0, 1.0)) for i in range(4)
    ]
    with pytest.raises(rd.UserError, match=message):
        rd.train_policy(policy_folder, groups, weights, output=tmp_path)


def test_what_things_say_of_themselves(policy_folder: Path) -> None:
    ledger = rd.Ledger()
    ledger.keep(58)
    ledger.drop("duplicate", "d.jsonl:3", rows=2)
    assert repr(ledger) == "Ledger(60 rows: 58 kept, 2 dropped (2 duplicate))"
    assert repr(rd.load_groups("demo")).startswith(
        "Groups(128 prompts with their responses, the first from "
    )
    scorer = new_scorer(rd.ScorerConfig(kind="difference", backbone=str(policy_folder)))
    assert (
        repr(scorer)
        == f"Scorer('difference', head='general', backbone={str(policy_folder)!r}, not trained)"
    )


@pytest.mark.parametrize(
    ("kind", "override", "message"),
    [
        ("reward", "lrr=1", "override 'lrr=1': there is no key 'lrr' here – did you mean 'lr'?"),
        (
            "dpo",
            "betta=0.2",
            "override 'betta=0.2': there is no key 'betta' here – did you mean 'beta'?",
        ),
        (
            "dpo",
            "lorra.r=4",
            "override 'lorra.r=4': there is no key 'lorra' here – did you mean 'lora'?",
        ),
        (
            "sft",
            "max_step=4",
            "override 'max_step=4': there is no key 'max_step' here – did you mean 'max_steps'?",
        ),
        (
            "simpo",
            "train.lrr=1",
            "override 'policies.simpo.train.lrr=1': unknown key 'policies.simpo.train.lrr'",
        ),
    ],
)
def test_a_mistyped_option_of_train_is_answered_with_the_nearest(
    kind: str, override: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(rd.UserError) as error:
        train_stage(kind, "no-model", "demo", tmp_path, [override])
    assert str(error.value).startswith(message)
    assert not any(tmp_path.iterdir())
