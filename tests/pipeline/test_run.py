"""The whole pipeline on tiny random models: what is written, what is done again, and what is
refused."""

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from real_templates import CHATS
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from rewarddiff import rendering
from rewarddiff.cli import main
from rewarddiff.coefficients import CoefficientConfig, weigh
from rewarddiff.config import load_recipe
from rewarddiff.data import Ledger, load_groups
from rewarddiff.differences import Differences
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.outputs import run_folder_for
from rewarddiff.pipeline import columns, judging, policies, scorers
from rewarddiff.pipeline import data as data_stage
from rewarddiff.pipeline.columns import grades
from rewarddiff.pipeline.commands import run_recipe, train_stage
from rewarddiff.pipeline.evaluating import eval_stage
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.run import check_early
from rewarddiff.pipeline.scoring import score
from rewarddiff.policies.policy import PolicyConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.ranking import scores as scores_by


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty prompts with three graded responses; the better ones have more exclamation marks."""
    path = tmp_path_factory.mktemp("data") / "graded.jsonl"
    rows = [
        {
            "prompt": f"Say it {i}",
            "responses": [f"no{i}", f"yes{i}!", f"yes{i}!!!"],
            "scores": [0, 2.5, 9],
        }
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe(policy: Path, encoder: Path, data: Path, output: Path) -> dict:
    small = {"batch_size": 4, "max_steps": 2, "precision": "fp32"}
    scorer = {"backbone": str(encoder), "lengths": {"max_response": 64}, "train": small}
    dpo = {"objective": "dpo", "train": {**small, "lr": 1e-3}}
    weighted = {"source": "difference", "alpha": 1.0, "negative": "abs", "normalise": "mean"}
    return {
        "name": "tiny",
        "model": str(policy),
        "output": str(output),
        "data": {"path": str(data), "splits": {"train": 0.6, "dev": 0.2, "test": 0.2}},
        "lengths": {"max_response": 64},
        "seed": [0, 1],
        "scorers": {
            "reward": {**scorer, "kind": "reward"},
            "difference": {**scorer, "kind": "difference", "warm_start": "reward"},
        },
        "policies": {
            "dpo": dpo,
            "dpo+difference": {**dpo, "coefficient": weighted},
            "dpo+shuffled": {**dpo, "coefficient": {**weighted, "control": "shuffled"}},
            "lora": {**dpo, "lora": {"r": 2}, "coefficient": {"source": "grades", "alpha": 0.5}},
            "sft": {**dpo, "objective": "sft"},
        },
        "evaluation": {"sampling": {"max_new_tokens": 6, "stop": []}, "shown": 2},
    }


def test_a_run_and_the_same_run_again(
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    output = run_recipe(plan)
    assert "nothing was left to do" not in capsys.readouterr().out
    results = json.loads((output / "results.json").read_text())
    assert (output / "report.html").stat().st_size > 10_000

    assert sum(s["groups"] for s in results["data"]["splits"].values()) == 40
    assert {(s["name"], s["seed"]) for s in results["scorers"]} == {
        (n, i) for n in ("reward", "difference") for i in (0, 1)
    }
    assert all(s["evaluation"]["accuracy"]["n"] > 0 for s in results["scorers"])
    names = ["base", "dpo", "dpo+difference", "dpo+shuffled", "lora", "sft"]
    assert [p["name"] for p in results["summary"]["policies"]] == names
    assert len(results["rewards"]) == 2 * 2 * len(names)  # seeds × scorers × policies
    used = {(r["policy"], r["scorer"]) for r in results["rewards"] if r["used_in_training"]}
    # the difference model starts from the reward model, so neither judges independently
    assert used == {
        (p, s) for p in ("dpo+difference", "dpo+shuffled") for s in ("difference", "reward")
    }
    first = next(p for p in results["policies"] if p["name"] == "dpo")["curve"]
    start = next(line for line in first if line["split"] == "dev")
    assert start["step"] == 0
    assert start["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert {c["policy"] for c in results["coefficients"]} == {
        "dpo+difference",
        "dpo+shuffled",
        "lora",
    }
    assert all("share_negative" in c["report"] for c in results["coefficients"])
    assert results["notes"]
    drawn = json.loads((output / "samples/base/samples.json").read_text())
    assert all(sample.keys() == {"text", "ended"} for sample in drawn)
    assert {(line["policy"], line["seed"]) for line in results["lengths"]} == {
        (n, i) for n in names for i in (0, 1)
    }
    assert all(line["unfinished"] <= line["n"] == len(drawn) for line in results["lengths"])
    assert all(len(s["responses"]) == len(names) for s in results["samples"])
    shuffled = [
        c["report"]["after"] for c in results["coefficients"] if c["policy"] == "dpo+shuffled"
    ]
    weighted = [
        c["report"]["after"] for c in results["coefficients"] if c["policy"] == "dpo+difference"
    ]
    assert shuffled[0]["quantiles"] == weighted[0]["quantiles"]

    for room, name in (
        (scorers, "train_scorer"),
        (policies, "train_policy"),
        (judging, "read_here"),
        (scorers, "compare"),
    ):
        monkeypatch.setattr(room, name, lambda *_, **__: pytest.fail("done again"))
    run_recipe(plan)
    assert "nothing was left to do" in capsys.readouterr().out
    again = json.loads((output / "results.json").read_text())
    changing = ("created", "seconds", "sha256")
    assert {k: v for k, v in again.items() if k not in changing} == {
        k: v for k, v in results.items() if k not in changing
    }

    rewards = output / "rewards/0/rewards.json"
    before = rewards.read_text()
    shutil.rmtree(rewards.parent)  # the stage is done again, with scores from the store
    monkeypatch.setattr(NeuralScorer, "_compute", lambda *_: pytest.fail("read again"))
    judging.rewards_stage(data_stage.prepare(load_recipe(plan, [], Recipe), output), 0)
    assert rewards.read_text() == before


def test_coefficients_stay_with_their_comparisons_where_some_are_left_out(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    groups = [
        Group(
            "g",
            "p",
            ("same 1", "same 2", "no"),
            comparisons=(Comparison(0, 1), Comparison(1, 2), Comparison(2, 0)),
        ),
        Group("h", "p", ("yes", "no"), comparisons=(Comparison(1, 0),)),
    ]
    stated = [Differences.of([1.0, 2.0, 3.0]), Differences.of([4.0])]
    weighed = weigh(stated, CoefficientConfig(alpha=1.0, normalise="none"))
    ledger = Ledger()
    own, encoder = columns.Columns(weighed), Encoder(tiny_tokenizer, LengthConfig(max_response=4))
    pairs = columns.with_columns(groups, own)
    items = PolicyConfig().objective.items(pairs, encoder, ledger)
    assert [item.coefficients for item in items] == [
        (2.0, 3.0),
        (4.0,),
    ]  # 1 was for two responses that begin alike
    texts = [[tiny_tokenizer.decode(node.tokens) for node in item.tree.nodes[1:]] for item in items]
    compared = [
        [(t[a], t[b]) for a, b in item.comparisons] for t, item in zip(texts, items, strict=True)
    ]
    assert compared == [[("same", "no<eos>"), ("no<eos>", "same")], [("no<eos>", "yes<eos>")]]
    assert (ledger.kept, ledger.dropped, ledger.count("identical_after_truncation")) == (2, 0, 1)


def test_another_alpha_trains_the_policy_only(
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = recipe(policy_folder, encoder_folder, data, tmp_path / "run") | {"seed": 0}
    plan["policies"] = {"dpo+difference": plan["policies"]["dpo+difference"]}
    run_recipe(plan)
    monkeypatch.setattr(
        scorers, "train_scorer", lambda *_, **__: pytest.fail("a scorer was trained again")
    )
    before = (tmp_path / "run/policies/dpo+difference-0/manifest.json").read_text()
    capsys.readouterr()
    run_recipe(plan, ["policies.dpo+difference.coefficient.alpha=0.5", "data.max_drop=0.5"])
    assert "policies/dpo+difference-0: made anew" in capsys.readouterr().out
    assert (tmp_path / "run/policies/dpo+difference-0/manifest.json").read_text() != before


def test_a_further_test_file_measures_again_and_trains_nothing(
    encoder_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(Path("unused"), encoder_folder, data, tmp_path / "run") | {
        "policies": {},
        "seed": 0,
    }
    further = tmp_path / "further.jsonl"
    rows = data.read_text().splitlines(keepends=True)
    plan["data"]["tests"] = {"further": str(further)}
    accuracies = []
    for first in (0, 10):  # the same path, other contents
        further.write_text("".join(rows[first : first + 20]))
        results = json.loads((run_recipe(plan) / "results.json").read_text())
        monkeypatch.setattr(scorers, "train_scorer", lambda *_, **__: pytest.fail("trained again"))
        assert [s["name"] for s in results["scorers"] if s["kind"] == "reward"] == [
            "reward",
            "reward on further",
        ]
        accuracies.append([s["evaluation"]["mean"] for s in results["scorers"]])
    assert [a != b for a, b in zip(*accuracies, strict=True)] == [False, True, False, True]
    assert {c["test"] for c in results["scorer_contrasts"]} == {"test", "further"}

    # what a stage cost that this run does not use, though it lies there, is no cost of it
    results = json.loads(
        (run_recipe(plan, ["scorers.difference=null"]) / "results.json").read_text()
    )
    assert {line["stage"] for line in results["costs"]} == {
        "data",
        "scorers/reward-0",
        "evaluations/reward-0",
    }


def test_two_fresh_runs_give_the_same_numbers(
    policy_folder: Path, encoder_folder: Path, data: Path, tmp_path: Path
) -> None:
    figures = []
    for name in "ab":
        plan = recipe(policy_folder, encoder_folder, data, tmp_path / name) | {"seed": 0}
        plan["policies"] = {"dpo+difference": plan["policies"]["dpo+difference"]}
        results = json.loads((run_recipe(plan) / "results.json").read_text())
        figures.append({k: results[k] for k in ("rewards", "contrasts", "samples", "summary")})
    assert figures[0] == figures[1]


def test_train_score_and_eval_by_themselves(
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scorer = train_stage(
        "reward", str(encoder_folder), data, tmp_path / "rm", ["lr=1e-3", "max_steps=2", "seed=3"]
    )
    found = eval_stage([scorer], data, tmp_path / "eval")
    (figures,) = (scorer.evaluation for scorer in found.scorers)
    assert found.scorer_contrasts == ()
    splits = json.loads((tmp_path / "rm" / "run" / "results.json").read_text())["data"]["splits"]
    held_out = 40 - splits["train"]["groups"]  # all prompts are different
    assert figures.n == 3 * held_out  # ordered pairs of three responses
    evaluation = json.loads((tmp_path / "eval" / "results.json").read_text())["scorers"][0][
        "evaluation"
    ]
    assert evaluation["n"] == 3 * held_out
    assert "is right on" in (tmp_path / "eval" / "report.html").read_text()
    score(scorer, data, tmp_path / "s.jsonl")
    lines = [json.loads(x) for x in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    assert all(len(line["scores"]) == 3 for line in lines)

    # repeats have a line of their own, and two data sets or scorers never share a file
    monkeypatch.chdir(tmp_path)
    rows = data.read_text().splitlines(keepends=True)
    Path("prefs.train.jsonl").write_text("".join(rows[:5] * 2))
    Path("prefs.test.jsonl").write_text("".join(rows[5:8]))
    for name, scored in (
        ("train", "rm"),
        ("test", "rm"),
        ("test", "rm/run/scorers/reward-3/model"),
    ):
        assert main(["score", scored, f"prefs.{name}.jsonl"]) == 0
        rows_said = {"train": 10, "test": 3}[name]
        assert f"rows          {rows_said}, of which {rows_said} can be used" in (
            capsys.readouterr().out
        )
    counts = {
        file.name: len(file.read_text().splitlines()) for file in tmp_path.glob("prefs*scores*")
    }
    files = [
        "prefs.train.rm.scores.jsonl",
        "prefs.test.rm.scores.jsonl",
        "prefs.test.reward-3.scores.jsonl",
    ]
    assert counts == dict(zip(files, (10, 3, 3), strict=True))
    assert main(["score", "rm", "prefs.test.jsonl", "--output", "prefs.test.jsonl"]) == 2
    assert Path("prefs.test.jsonl").read_text() == "".join(rows[5:8])

    # an evaluation never takes the place of a run's results, and says whose place it takes
    results = (tmp_path / "rm" / "run" / "results.json").read_bytes()
    assert main(["eval", "rm", "prefs.test.jsonl", "--output", "rm/run"]) == 2
    assert (
        "rm/run: holds results that are not of an evaluation; choose another output"
        in capsys.readouterr().err
    )
    assert (tmp_path / "rm" / "run" / "results.json").read_bytes() == results
    assert main(["eval", "rm", "prefs.test.jsonl", "--output", "eval"]) == 0
    assert f"eval: what is there will be replaced ({scorer} on {data})" in capsys.readouterr().out


def test_scorers_are_evaluated_against_each_other(
    encoder_folder: Path, data: Path, tmp_path: Path
) -> None:
    scorers = [
        train_stage(
            kind,
            str(encoder_folder),
            data,
            tmp_path / kind,
            ["lr=1e-3", "max_steps=2", f"seed={seed}"],
        )
        for seed, kind in enumerate(("reward", "difference"))
    ]
    found = eval_stage(scorers, data, tmp_path / "eval")
    first, second = (scorer.evaluation.accuracy.value for scorer in found.scorers)
    (contrast,) = found.scorer_contrasts
    assert (contrast.a, contrast.b) == (str(scorers[1]), str(scorers[0]))
    assert contrast.gap.value == pytest.approx(second - first)
    assert contrast.gap.low <= contrast.gap.value <= contrast.gap.high
    assert "Scorers head to head" in (tmp_path / "eval" / "report.html").read_text()
    assert main(["eval", *map(str, scorers), str(data)]) == 0


def test_a_trained_policy_loads_with_transformers(
    policy_folder: Path, data: Path, tmp_path: Path
) -> None:
    folder = train_stage(
        "dpo",
        str(policy_folder),
        data,
        tmp_path / "dpo",
        ["lr=1e-3", "max_steps=2", "precision=fp32"],
    )
    trained = AutoModelForCausalLM.from_pretrained(folder)
    start = AutoModelForCausalLM.from_pretrained(policy_folder)
    assert any(
        not torch.equal(a, b) for a, b in zip(trained.parameters(), start.parameters(), strict=True)
    )


def test_grades_need_grades(policy_folder: Path, encoder_folder: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(40)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = recipe(policy_folder, encoder_folder, pairs, tmp_path / "run")
    plan |= {"scorers": {}, "policies": {"lora": plan["policies"]["lora"]}, "seed": 0}
    with pytest.raises(
        UserError, match=r"lora\.coefficient\.source: grades, but the data gives only the order"
    ):
        run_recipe(plan)


def test_grades_that_are_missing_are_named() -> None:
    pair = ("a", "b")
    rows = [
        Group(str(n), f"p{n}", pair, None, (Comparison(0, 1, 1.0),), source=f"f.jsonl:{n}")
        for n in range(1, 8)
    ]
    rows[4:6] = [replace(group, comparisons=(Comparison(0, 1),)) for group in rows[4:6]]
    with pytest.raises(
        UserError, match=r"gives only the order of 2 of 7 comparisons, first in f\.jsonl:5; fill in"
    ):
        grades("policies.dpo.coefficient", rows)
    stated = grades("policies.dpo.coefficient", rows[:4])
    assert [d.mean.tolist() for d in stated] == [[1.0]] * 4


def test_faults_are_found_before_anything_is_trained(
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for room, name in ((scorers, "train_scorer"), (policies, "train_policy")):
        monkeypatch.setattr(room, name, lambda *_, **__: pytest.fail("trained"))
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(40)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    broken = tmp_path / "broken.jsonl"
    broken.write_text(
        f"{json.dumps(rows[0])}\n" + '{"prompt": "p", "chosen": "", "rejected": "a"}\n'
    )
    folder = tmp_path / "no-model"
    faults = {
        f"data.path={pairs}": "source: grades, but the data gives only the order",
        f"data.tests={{far: {broken}}}": "broken.jsonl:2: 1 of 2 rows dropped",
        f"model={folder}": "no such folder",
        f"scorers.difference.backbone={folder}": "no such folder",
        f"scorers.reward.warm_start={folder}": "no such folder",
        "lengths.max_response=1100": "context of 1024 positions",
        "evaluation.sampling.max_new_tokens=1024": "lower max_new_tokens",
        "policies.sft.train.track=tensorbord": "did you mean 'tensorboard'",
        "scorers.reward.train.track=weights": "no tracker 'weights'",
    }
    for fault, message in faults.items():
        with pytest.raises(UserError, match=message):
            run_recipe(recipe(policy_folder, encoder_folder, data, tmp_path / "run"), [fault])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model={0}/polici", "model: {0}/polici: no such folder (did you mean {0}/policy?)"),
        (
            "model=smollm2-135m-instrct",
            "model: smollm2-135m-instrct: no such folder (did you mean smollm2-135m-instruct?)",
        ),
        ("scorers.reward.backbone=./none", "scorers.reward.backbone: none: no such folder"),
        ("scorers.reward.warm_start=./none", "scorers.reward.warm_start: none: no such folder"),
        ("policies.sft={{trained: ./none}}", "policies.sft.trained: none: no such folder"),
        (
            "scorers.difference={{kind: judge, local: ./none}}",
            "scorers.difference.local: none: no such folder",
        ),
    ],
)
def test_a_mistyped_model_is_named_with_its_key_before_the_first_stage(
    override: str,
    message: str,
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    plan = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    place = policy_folder.parent
    with pytest.raises(UserError, match=f"^{re.escape(message.format(place))}"):
        run_recipe(plan, [override.format(place)])
    assert not (tmp_path / "run" / "data").exists()


def talk(number: int, *, system: bool) -> dict:
    """A row that Gemma's chat template refuses if it has a system's turn."""
    question = {"role": "user", "content": f"Why {number}?"}
    prompt = [{"role": "system", "content": "Be brief."}, question] if system else [question]
    chosen, rejected = (
        [{"role": "assistant", "content": f"{word} {number}"}] for word in ("Yes", "No")
    )
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def talking(folder: Path, model: Path, tokenizer: PreTrainedTokenizerFast, template: str) -> Path:
    """The model with another chat template."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = template
    shutil.copytree(model, folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gemma(
    tmp_path_factory: pytest.TempPathFactory,
    policy_folder: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> Path:
    return talking(
        tmp_path_factory.mktemp("chat") / "gemma",
        policy_folder,
        tiny_tokenizer,
        CHATS["gemma"].template,
    )


def talks(path: Path, *systems: int) -> Path:
    """Forty rows of which these have a system's turn; see `talk`. Of the first six, 4 is in dev, 5
    in test."""
    path.write_text("".join(json.dumps(talk(i, system=i in systems)) + "\n" for i in range(40)))
    return path


REFUSED = "the chat template refuses the conversation (System role not supported); change or delete the row"


def test_templates_are_tried_before_anything_is_trained(
    policy_folder: Path, encoder_folder: Path, gemma: Path, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for room, name in ((scorers, "train_scorer"), (policies, "train_policy")):
        monkeypatch.setattr(room, name, lambda *_, **__: pytest.fail("trained"))
    endless = copy.deepcopy(tiny_tokenizer)
    endless.eos_token = None
    turns = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    broken = talking(
        tmp_path / "broken", policy_folder, tiny_tokenizer, "{{ messages[0].text.strip() }}"
    )
    data = talks(tmp_path / "talk.jsonl", 3)
    faults = {
        ("model", gemma): "talk.jsonl:4: 1 of .*System role not supported",
        (
            "model",
            talking(tmp_path / "endless", policy_folder, endless, turns),
        ): "tokenizer has no end token",
        ("model", broken): "chat template does not work .UndefinedError",
        ("scorers.reward.backbone", gemma): "talk.jsonl:4: 1 of .*System role not supported",
    }
    plan = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    del plan["policies"]["lora"]  # it needs grades
    for (key, folder), message in faults.items():
        with pytest.raises(UserError, match=message):
            run_recipe(plan, [f"{key}={folder}", "data.max_drop=0.01"])
    for given in (
        ["check", str(data), "--model", str(gemma), "--max-drop", "0.01"],
        bestof(data, gemma, tmp_path),
    ):
        assert re.search(r"talk.jsonl:4: .*System role not supported", bad(given, capsys))
    with pytest.raises(UserError, match=re.escape(f"talk.jsonl:4: {REFUSED}")):
        scores_by(new_scorer(ScorerConfig(backbone=str(gemma))), load_groups(str(data)))


def test_a_scorer_needs_the_rows_it_is_asked_about(
    policy_folder: Path, encoder_folder: Path, gemma: Path, tmp_path: Path
) -> None:
    """Rows that it only learns from may be dropped."""
    plan = recipe(policy_folder, encoder_folder, tmp_path / "talk.jsonl", tmp_path / "run")
    plan["data"]["max_drop"] = 0.1
    plan["scorers"]["reward"]["backbone"] = str(gemma)
    del plan["policies"]["lora"]  # it needs grades
    asked = copy.deepcopy(plan)
    asked["policies"]["dpo+difference"]["coefficient"]["source"] = "reward"
    tests = f"data.tests={{far: {talks(tmp_path / 'far.jsonl', 7)}}}"

    def check(plan: dict, *systems: int, overrides: tuple[str, ...] = ()) -> None:
        talks(tmp_path / "talk.jsonl", *systems)
        check_early(data_stage.prepare(load_recipe(plan, overrides, Recipe), tmp_path / "run"))

    check(plan, 0, 3)  # both in training
    for row, given in ((1, asked), (5, plan), (6, plan)):
        with pytest.raises(UserError, match=re.escape(f"talk.jsonl:{row}: {REFUSED}")):
            check(given, row - 1)
    with pytest.raises(UserError, match=re.escape(f"far.jsonl:8: {REFUSED}")):
        check(plan, overrides=(tests,))


def test_a_run_drops_its_first_row_and_renders_nothing_when_it_is_finished(
    encoder_folder: Path, gemma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = talks(tmp_path / "talk.jsonl", 0)  # the first of the training split
    plan = recipe(gemma, gemma, data, tmp_path / "run") | {"seed": 0}
    plan["data"]["max_drop"] = 0.1
    plan["scorers"] = {"reward": plan["scorers"]["reward"]}
    plan["policies"] = {"dpo": plan["policies"]["dpo"]}
    results = json.loads((run_recipe(plan) / "results.json").read_text())
    for folder in ("scorers/reward-0", "policies/dpo-0"):
        dropped = json.loads((tmp_path / "run" / folder / "manifest.json").read_text())["ledger"][
            "dropped"
        ]
        assert dropped["template_refused"]["count"] == 1
        assert dropped["template_refused"]["examples"][0]["source"].endswith("talk.jsonl:1")
    assert {line["policy"] for line in results["rewards"]} == {"base", "dpo"}
    monkeypatch.setattr(rendering, "render", lambda *_: pytest.fail("rendered again"))
    run_recipe(plan)


def bestof(data: Path, model: Path, output: Path) -> list[str]:
    return [
        "bestof",
        str(data),
        "--model",
        str(model),
        "--scorer",
        str(model),
        "--gold",
        str(model),
        "--output",
        str(output / "b"),
    ]


def test_a_dev_set_is_never_weighted(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"prompt": f"Say {i}", "chosen": f"yes{i}!", "rejected": f"no{i}"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = recipe(policy_folder, encoder_folder, path, tmp_path / "run") | {"seed": 0}
    plan["policies"] = {"dpo+difference": plan["policies"]["dpo+difference"]}
    plan["data"]["splits"] = {"train": 0.8, "dev": 0.2}
    seen = {}

    def note(model, items, config, *, dev, **_):
        seen["train"], seen["dev"] = (
            [c for item in part for c in item.coefficients] for part in (items, dev)
        )
        raise KeyboardInterrupt

    monkeypatch.setattr(policies, "train_policy", note)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(plan)
    assert len(set(seen["train"])) > 1
    assert set(seen["dev"]) == {1.0}


def test_policies_may_have_any_name(
    policy_folder: Path, encoder_folder: Path, data: Path, tmp_path: Path
) -> None:
    """Names of a stage's own arguments among them."""
    plan = recipe(policy_folder, encoder_folder, data, tmp_path / "run") | {"seed": 0}
    plan["scorers"] = {"data": plan["scorers"]["reward"]}
    plan["policies"] = dict.fromkeys(("folder", "name", "data"), plan["policies"]["dpo"])
    results = json.loads((run_recipe(plan) / "results.json").read_text())
    assert {r["policy"] for r in results["rewards"]} == {"base", "folder", "name", "data"}


def test_too_many_groups_lost_to_a_scorer(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The responses are alike in all that the scorer reads of them."""
    path = tmp_path / "d.jsonl"
    rows = [
        {"prompt": f"p{i}", "chosen": "a" * 80 + "yes", "rejected": "a" * 80 + "no"}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = recipe(policy_folder, encoder_folder, path, tmp_path / "run") | {"policies": {}}
    monkeypatch.setattr(
        "rewarddiff.scorers.neural.train.train", lambda *_, **__: pytest.fail("trained")
    )
    with pytest.raises(UserError, match="identical_after_truncation"):
        run_recipe(plan)


def bad(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line a bad call gives, with exit status 2."""
    status = main(arguments)
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert status == 2, captured.err
    assert "Traceback" not in captured.err
    assert lines[-1].startswith("rewarddiff: error: ")
    return lines[-1]


class TestBadInput:
    """A bad input gives one line that names the place and the mend, status 2, and nothing
    half-written."""

    def test_a_typo_in_a_key(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "r.yaml"
        file.write_text("name: x\npolices: {}\n")
        assert "did you mean 'policies'?" in bad(["run", str(file)], capsys)

    def test_a_missing_column(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "d.jsonl"
        file.write_text('{"prompt": "p", "chosen": "a"}\n')
        line = bad(
            ["train", "reward", "--data", str(file), "--output", str(tmp_path / "o")], capsys
        )
        assert str(file) in line
        assert "rejected" in line
        assert not (tmp_path / "o" / "model.safetensors").exists()

    def test_a_file_cut_in_the_middle(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import gzip

        whole = gzip.compress(data.read_bytes())
        file = tmp_path / "cut.jsonl.gz"
        file.write_bytes(whole[: len(whole) // 2])
        assert str(file) in bad(["check", str(file)], capsys)

    def test_nan_scores(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "d.jsonl"
        file.write_text('{"prompt": "p", "responses": ["a", "b"], "scores": [NaN, 1]}\n')
        line = bad(
            ["train", "reward", "--data", str(file), "--output", str(tmp_path / "o")], capsys
        )
        assert "d.jsonl:1" in line

    def test_a_prompt_longer_than_the_context(
        self, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "d.jsonl"
        rows = [
            {"prompt": "long " * 500 + str(i), "chosen": "a", "rejected": "b"} for i in range(20)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = [
            "train",
            "dpo",
            "--model",
            str(policy_folder),
            "--data",
            str(file),
            "--output",
            str(tmp_path / "o"),
        ]
        line = bad(arguments, capsys)
        assert "d.jsonl:1" in line
        assert "max_prompt" in line
        assert not list((tmp_path / "o").rglob("*.safetensors"))

    def test_an_untrained_head(
        self, encoder_folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "no trained head" in bad(["eval", str(encoder_folder), str(data)], capsys)

    def test_a_folder_that_is_no_model(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert str(tmp_path) in bad(["eval", str(tmp_path), str(data)], capsys)
        arguments = [
            "train",
            "dpo",
            "--model",
            str(tmp_path),
            "--data",
            str(data),
            "--output",
            str(tmp_path / "o"),
        ]
        assert "config.json" in bad(arguments, capsys)

    @pytest.mark.parametrize(
        "command",
        [
            "train dpo --model nowhere --data nowhere",
            "run recipe.yaml",
            "sweep recipe.yaml seed=0,1",
            "score nowhere nowhere",
            "eval nowhere nowhere",
            "bestof nowhere --scorer nowhere --gold nowhere",
            "augment nowhere --scorer nowhere",
            "baseline nowhere --scorer nowhere",
            "designs nowhere nowhere",
            "lab",
        ],
    )
    def test_an_output_that_cannot_be_written_is_found_before_anything_else(
        self,
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("file").write_text("mine")
        Path("recipe.yaml").write_text("name: r\ndata: {path: nowhere}\n")
        arguments = command.split()
        output = ["output=file/x"] if arguments[0] in ("run", "sweep") else ["--output", "file/x"]
        line = bad([*arguments, *output], capsys)
        assert line.startswith("rewarddiff: error: file")
        assert line.endswith(": cannot be written (a file is in the way); choose another output")
        assert {path.name for path in tmp_path.iterdir()} == {"file", "recipe.yaml"}

    @pytest.mark.parametrize(
        "command", ["run recipe.yaml", "sweep recipe.yaml seed=0,1", "train dpo --data nowhere"]
    )
    def test_a_folder_that_another_run_writes_to(
        self,
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("recipe.yaml").write_text("name: r\ndata: {path: nowhere}\noutput: o\n")
        folder = {"run": "o", "sweep": "o-sweep", "train": "runs/dpo/run"}[command.split()[0]]
        with run_folder_for(Path(folder)):
            assert f"another run is writing in {folder} (process" in bad(command.split(), capsys)

    @pytest.mark.parametrize("name", ["../x", "/tmp/x", "..", ".", ".hidden", "a/b", ""])
    def test_a_name_that_would_lie_outside(
        self,
        name: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("r.yaml").write_text("name: r\n")
        for key in ("name", "data.tests"):
            value = f"name={name!r}" if key == "name" else f"data.tests={{{name!r}: demo}}"
            assert f"{key}: '{name}' names a folder; use letters, digits" in bad(
                ["run", "r.yaml", value], capsys
            )
        assert [path.name for path in tmp_path.iterdir()] == ["r.yaml"]

    def test_a_model_in_a_folder_that_the_run_makes_anew(
        self, encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trained = tmp_path / "run" / "scorers" / "mine-0" / "model"
        shutil.copytree(encoder_folder, trained)
        plan = {
            "name": "r",
            "output": str(tmp_path / "run"),
            "scorers": {"mine": {"trained": str(trained)}},
        }
        (tmp_path / "r.yaml").write_text(json.dumps(plan))
        line = bad(["run", str(tmp_path / "r.yaml")], capsys)
        assert (
            f"scorers.mine.trained: {trained} lies in a folder that this run makes anew (scorers/mine-0)"
            in line
        )
        assert (trained / "config.json").exists()
