"""Policies that were trained elsewhere are judged in a run as they are."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from rewarddiff.cli import main
from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.sweep import sweep_recipe
from rewarddiff.results import Results, SweepResults, Unequal, adapter, read_results

SMALL = {"batch_size": 4, "max_steps": 1, "precision": "fp32", "lr": 1e-2}


@pytest.fixture(scope="module")
def other(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    """A model of another size, context and vocabulary than the one that the run trains."""
    folder = tmp_path_factory.mktemp("elsewhere") / "other"
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_tokens(["Say it"])
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=96,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe(policy: Path, folder: Path) -> dict[str, Any]:
    path = folder / "pairs.jsonl"
    pairs = [{"prompt": f"Say it {i}", "chosen": "yes, yes", "rejected": "no"} for i in range(40)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return {
        "name": "elsewhere",
        "model": str(policy),
        "output": str(folder / "run"),
        "seed": [0, 1],
        "data": {"path": str(path), "splits": {"train": 0.6, "test": 0.4}},
        "lengths": {"max_response": 64},
        "scorers": {"length": {"kind": "length"}},
        "policies": {
            "dpo": {"train": SMALL},
            "weighted": {"train": SMALL, "coefficient": {"source": "length", "negative": "abs"}},
        },
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 24, "stop": []}},
    }


@pytest.fixture(scope="module")
def run(policy_folder: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = recipe(policy_folder, tmp_path_factory.mktemp("run"))
    plan["policies"] |= {"mine": {"trained": str(other)}, "start": {"trained": str(policy_folder)}}
    return run_recipe(plan)


@pytest.fixture(scope="module")
def results(run: Path) -> Results:
    return read_results(run)


def test_it_is_judged_and_not_trained_the_same_for_all_seeds(run: Path, results: Results) -> None:
    assert {policy.name for policy in results.policies} == {"dpo", "weighted"}
    assert not list(run.glob("policies/mine*")) + list(run.glob("policies/start*"))
    drawn = {folder.name for folder in (run / "samples").iterdir()}
    assert drawn == {"base", "mine", "start", "dpo-0", "dpo-1", "weighted-0", "weighted-1"}
    by_seed = [
        line.mean.value
        for line in results.rewards
        if (line.policy, line.scorer) == ("mine", "length")
    ]
    assert len(by_seed) == 2
    assert by_seed[0] == by_seed[1]
    assert all("mine" in sample.responses for sample in results.samples)


def test_it_writes_by_its_own_tokenizer_within_its_own_context(run: Path, other: Path) -> None:
    """Samples are those that transformers draws greedily from its folder."""
    from transformers import AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(other).eval()
    tokenizer = AutoTokenizer.from_pretrained(other)
    results = read_results(run)
    for sample in results.samples:
        prompt = tokenizer(sample.prompt, return_tensors="pt")["input_ids"]
        drawn = model.generate(
            prompt,
            max_new_tokens=24,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )[0, prompt.shape[1] :]
        drawn = drawn.tolist()
        if tokenizer.pad_token_id in drawn:  # which ends a sample too
            drawn = drawn[: drawn.index(tokenizer.pad_token_id)]
        text = tokenizer.decode(drawn, skip_special_tokens=True)
        assert sample.responses["mine"] == text.rstrip()


def test_the_model_before_training_judged_as_a_policy_is_the_base(results: Results) -> None:
    """It is the same model, so that every sample is the same and every gap 0."""
    (against_base,) = [
        line
        for line in results.contrasts
        if (line.a, line.b, line.seed) == ("start", "base", "all")
    ]
    assert (against_base.mean_gap.value, against_base.tie) == (0.0, 1.0)


def test_contrasts_say_what_is_not_known(
    results: Results, other: Path, policy_folder: Path
) -> None:
    differences = {(line.a, line.b): line.unequal for line in results.contrasts}
    assert differences["weighted", "dpo"] == ()
    assert differences["dpo", "base"] == ()
    mine, start = str(other), str(policy_folder)
    assert differences["weighted", "mine"] == (Unequal("trained", None, mine),)
    assert differences["dpo", "start"] == (Unequal("trained", None, start),)
    assert differences["mine", "start"] == (Unequal("trained", mine, start),)
    assert differences["mine", "base"] == (Unequal("trained", mine, None),)
    unknown = "mine was trained elsewhere: on which data, for how long and with which scorers is not known"
    (note,) = [note for note in results.notes if note.startswith("dpo against mine")]
    assert note.endswith(f"; {unknown}.")
    assert "unequally" not in note


def test_page_and_terminal_show_where_it_comes_from(
    run: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (run / "report.html").read_text()
    assert f"mine: trained elsewhere, {other}; one model for all seeds." in page
    resolved = page.partition("<pre>")[2].partition("</pre>")[0]
    assert f"  mine:\n    trained: {other}\n  start:\n    trained: " in resolved


def test_what_a_run_trained_is_the_same_policy_in_another(
    policy_folder: Path,
    run: Path,
    results: Results,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Judged elsewhere, it writes the same and earns the same."""
    plan = recipe(policy_folder, tmp_path) | {"seed": 0}
    capsys.readouterr()
    plan["policies"] = {"again": {"trained": str(run / "policies/weighted-0/model")}}
    again = read_results(run_recipe(plan))
    assert again.policies == ()
    assert again.coefficients == ()

    def texts(of: Results, policy: str) -> list[str]:
        return [sample.responses[policy] for sample in of.samples]

    assert texts(again, "again") == texts(results, "weighted")
    assert texts(again, "again") != texts(again, "base")
    (mean,) = [line.mean for line in again.rewards if line.policy == "again"]
    (first,) = [
        line.mean for line in results.rewards if (line.policy, line.seed) == ("weighted", 0)
    ]
    assert mean == first
    assert again.data.prompts == results.data.prompts
    assert again.data.contents == results.data.contents

    page = tmp_path / "compare.html"
    assert main(["compare", str(run), str(tmp_path / "run"), "--output", str(page)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    same = "All scorers are measured on the same held-out comparisons; policies answer the same prompts."
    assert same in said
    assert '<th scope="col">under length</th>' in page.read_text()


def test_only_the_keys_that_count_are_printed(
    policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = recipe(policy_folder, tmp_path)
    plan["policies"]["mine"] = {"trained": "some/model", "train": SMALL, "lora": {"r": 4}}
    plan["scorers"]["theirs"] = {"kind": "reward", "trained": "some/reward"}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(plan))
    assert main(["run", str(path), "--print"]) == 0
    printed = capsys.readouterr().out
    assert "  theirs:\n    kind: reward\n    trained: some/reward\npolicies:" in printed
    assert "  mine:\n    trained: some/model\nevaluation:" in printed
    (tmp_path / "again.yaml").write_text(printed)
    assert load_recipe(tmp_path / "again.yaml", [], Recipe).heeded == (
        load_recipe(path, [], Recipe).heeded
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "policies.mine.coefficient={source: length}",
            "policies.mine.coefficient: this policy is trained already (some/model) and has no use for it",
        ),
        ("policies.mine.order={source: length}", "policies.mine.order: this policy is trained"),
        ("policies.mine.strength={source: grades}", "policies.mine.strength: this policy is"),
        ("scorers.length=null", "is only judged, and the recipe has no scorers; add one"),
        ("data.splits={train: 1.0}", "is only judged, and data.splits has no share for test"),
        ("model=null", "policies need a model"),
    ],
)
def test_what_it_has_no_use_for_is_refused(
    policy_folder: Path, tmp_path: Path, override: str, message: str
) -> None:
    plan = recipe(policy_folder, tmp_path)
    plan["policies"] = {"mine": {"trained": "some/model"}}
    with pytest.raises(UserError) as refused:
        load_recipe(plan, [override], Recipe).check()
    assert message in str(refused.value)


def test_what_is_no_language_model_is_refused_before_anything_is_trained(
    policy_folder: Path, run: Path, tmp_path: Path
) -> None:
    plan = recipe(policy_folder, tmp_path)
    places = {
        "some/where/none": "policies.mine.trained: some/where/none: no such folder",
        str(tmp_path / "run/policies/dpo-0/model"): "lies in a folder that this run makes anew",
    }
    scorer = tmp_path / "scorer"
    scorer.mkdir()
    for file in policy_folder.iterdir():
        (scorer / file.name).write_bytes(file.read_bytes())
    config = json.loads((scorer / "config.json").read_text())
    config["architectures"] = ["LlamaForSequenceClassification"]
    (scorer / "config.json").write_text(json.dumps(config))
    places[str(scorer)] = "policies.mine.trained: .*scorer is a scorer, and writes nothing"
    for place, message in places.items():
        plan["policies"]["mine"] = {"trained": place}
        with pytest.raises(UserError, match=message):
            run_recipe(plan)
        assert not (tmp_path / "run/policies").exists()


def test_a_sweep_judges_it_once_beside_its_points(
    policy_folder: Path, other: Path, tmp_path: Path
) -> None:
    plan = recipe(policy_folder, tmp_path) | {"seed": 0}
    plan["policies"]["mine"] = {"trained": str(other)}
    folder = sweep_recipe(plan, ["coefficient.alpha=1,2"])
    sweep = adapter(SweepResults).validate_json((folder / "sweep.json").read_bytes())
    (mine,) = [point for point in sweep.points if point.policy == "mine"]
    assert (mine.objective, mine.models, mine.dev_loss) == (None, (str(other),), None)
    assert mine.baseline is not None
    assert mine.baseline.policy == "base"
    assert mine.baseline.unequal == (Unequal("trained", str(other), None),)
    assert len(list(folder.glob("samples/mine-*"))) == 1
    page = (folder / "sweep.html").read_text()
    assert "<bdi>trained elsewhere</bdi>" in page
    assert "‡ mine was trained elsewhere" in page
