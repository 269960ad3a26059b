"""`rewarddiff eval` on benchmark files, by the command itself."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rewarddiff.cli import main
from rewarddiff.data import load_groups, prompt_hashes
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.pipeline import eval_stage
from rewarddiff.pipeline.commands import train_scorer
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.ranking import scores as scores_by


@pytest.fixture(scope="module")
def scorers(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A reward model and a difference model that read 16 tokens of a response."""
    folders = []
    for kind in ("reward", "difference"):
        config = ScorerConfig(
            kind=kind, backbone=str(encoder_folder), lengths=LengthConfig(max_response=16)
        )
        scorer = new_scorer(config, seed=3)
        scorer.trained = True
        folders.append(tmp_path_factory.mktemp("trained") / kind)
        save_scorer(scorer, folders[-1])
    return [str(folder) for folder in folders]


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def styles(text: str) -> list[str]:
    return [text, f"{text}, so", f"# {text}\n\n**so**"]


def test_rm_bench_from_file_to_page(
    scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    domains = ("chat", "math", "code", "safety-refuse", "safety-response")
    rows = [
        {
            "prompt": f"Say {i}",
            "chosen": styles(f"yes {i}"),
            "rejected": styles(f"no {7 * i}"),
            "domain": domains[i % 5],
        }
        for i in range(20)
    ]
    rows[3]["rejected"] = ["no", "no", "# no"]
    data = write(tmp_path / "bench.jsonl", rows)
    assert main(["eval", *scorers, data, "--max-drop", "0.3", "--output", str(tmp_path / "e")]) == 0
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    reward, difference = (entry["evaluation"] for entry in results["scorers"])
    assert (reward["rm_bench"]["partial"], reward["rm_bench"]["hard"]["n"]) == (1, 57)
    assert {part["domain"] for part in difference["rm_bench"]["by_domain"]} == {
        "chat",
        "math",
        "code",
        "safety",
    }
    # the first prompt's matrix, from the scores of its responses
    model = load_scorer(scorers[0])
    (first,) = results_of(model, rows[0])
    won = [[first[i] > first[3 + j] for j in range(3)] for i in range(3)]
    one = write(tmp_path / "one.jsonl", rows[:1])
    assert main(["eval", scorers[0], one, "--output", str(tmp_path / "one")]) == 0
    (entry,) = json.loads((tmp_path / "one" / "results.json").read_text())["scorers"]
    assert entry["evaluation"]["rm_bench"]["matrix"] == won
    # the terminal and the page
    printed = capsys.readouterr().out
    for line in (
        "RM-Bench: accuracy by style",
        "safety",
        "identical_responses",
        "Scorers head to head",
    ):
        assert line in printed
    page = (tmp_path / "e" / "report.html").read_text()
    assert "RM-Bench: accuracy by style" in page
    assert "No policy was trained" not in page
    assert "Learning curves" not in page


def results_of(model: object, row: dict[str, object]) -> list[list[float]]:
    from rewarddiff.records import Group, Message

    responses = (*row["chosen"], *row["rejected"])  # type: ignore[misc]
    group = Group("g", (Message("user", str(row["prompt"])),), responses)
    return [scores.tolist() for scores in scores_by(model, [group])]  # type: ignore[attr-defined]


def test_rows_of_one_prompt_are_one_prompt(scorers: list[str], tmp_path: Path) -> None:
    rows = [{"prompt": "Say it", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(4)]
    assert (
        main(
            ["eval", scorers[0], write(tmp_path / "d.jsonl", rows), "--output", str(tmp_path / "e")]
        )
        == 0
    )
    (entry,) = json.loads((tmp_path / "e" / "results.json").read_text())["scorers"]
    assert (entry["evaluation"]["n"], entry["evaluation"]["n_groups"]) == (4, 1)
    assert entry["evaluation"]["accuracy"]["low"] is None


def test_rewardbench_and_graded_lists(
    scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two right answers against three wrong ones are six comparisons; four with scores 3 > 1 = 1 >
    0 five and a tie."""
    bench = [
        {"prompt": f"Say {i}", "chosen": ["yes", "aye"], "rejected": ["no", "nay", "x"]}
        for i in range(3)
    ]
    rows = [{**row, "subset": "chat" if i else "safety"} for i, row in enumerate(bench)]
    lists = [
        {"prompt": f"Say {i}", "responses": ["a", "bb", "ccc", "d"], "scores": [3, 1, 1, 0]}
        for i in range(3)
    ]
    found = {}
    for name, data in (("bench", rows), ("lists", lists)):
        output = tmp_path / f"e-{name}"
        assert (
            main(
                ["eval", *scorers, write(tmp_path / f"{name}.jsonl", data), "--output", str(output)]
            )
            == 0
        )
        results = json.loads((output / "results.json").read_text())
        found[name] = results["scorers"][0]["evaluation"]
    assert (
        found["bench"]["n"],
        found["bench"]["n_groups"],
        found["bench"]["best_of_n"]["first"]["n"],
    ) == (18, 3, 3)
    assert [part["accuracy"]["n"] for part in found["bench"]["by_subset"]] == [12, 6]
    assert (found["lists"]["n"], found["lists"]["ties"]) == (15, 3)
    assert [part["low"] for part in found["lists"]["by_strength"]] == [1, 2, 3]
    assert found["lists"]["baselines"]["length"]["spearman_strength"]["value"] is not None
    printed = capsys.readouterr().out
    for line in ("safety", "Accuracy by part of the collection", "Accuracy by length"):
        assert line in printed


def test_a_scorer_of_aspects(
    encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aspects = {"helpful": 0.5, "harmless": 0.5}
    scorer = new_scorer(ScorerConfig(backbone=str(encoder_folder), aspects=aspects), seed=3)
    scorer.trained, scorer.temperature = True, 2.0
    save_scorer(scorer, tmp_path / "two")
    rows = [
        {"prompt": f"Say {i}", "chosen": f"yes {i}", "rejected": "n", "subset": "helpful"}
        for i in range(5)
    ]
    assert (
        main(
            [
                "eval",
                str(tmp_path / "two"),
                write(tmp_path / "d.jsonl", rows),
                "--output",
                str(tmp_path / "e"),
            ]
        )
        == 0
    )
    (entry,) = json.loads((tmp_path / "e" / "results.json").read_text())["scorers"]
    assert [(part["aspect"], part["own"]["n"]) for part in entry["evaluation"]["by_aspect"]] == [
        ("helpful", 5)
    ]
    assert entry["evaluation"]["calibrated"]["temperature"] == 2
    assert "Accuracy of aspects" in capsys.readouterr().out
    page = (tmp_path / "e" / "report.html").read_text()
    assert "Accuracy of aspects" in page
    assert "Probabilities at the temperature each scorer keeps" in page


def test_texts_beyond_the_limits_are_counted(scorers: list[str], tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Say {i}", "chosen": "y" * (14 + i), "rejected": "n"} for i in range(5)
    ]  # 16 tokens are read
    for scorer in scorers:
        assert (
            main(
                ["eval", scorer, write(tmp_path / "d.jsonl", rows), "--output", str(tmp_path / "e")]
            )
            == 0
        )
        results = json.loads((tmp_path / "e" / "results.json").read_text())
        assert results["scorers"][0]["evaluation"]["cut"] == {"prompt": 0, "response": 2}
        assert " It read 2 with a response beyond its limits in part." in results["notes"][0]


def test_what_cannot_be_measured_is_refused(
    scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single = write(
        tmp_path / "d.jsonl",
        [{"prompt": f"P{i}", "completion": "c", "label": True} for i in range(4)],
    )
    assert main(["eval", scorers[0], single]) == 2
    assert f"{single}: compares no two responses" in capsys.readouterr().err
    assert main(["eval", scorers[0], scorers[0], single]) == 2
    assert f"{scorers[0]}: given twice" in capsys.readouterr().err


def pairs(path: Path, prompts: range) -> str:
    return write(
        path, [{"prompt": f"Say {i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in prompts]
    )


@pytest.fixture(scope="module")
def trained_here(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reward model that was trained on the prompts `Say 0` to `Say 5`."""
    folder = tmp_path_factory.mktemp("here")
    groups = list(load_groups(pairs(folder / "train.jsonl", range(6))))
    config = ScorerConfig(
        backbone=str(encoder_folder), train=TrainConfig(max_steps=1, precision="fp32")
    )
    train_scorer(config, groups, output=folder / "scorer")
    return str(folder / "scorer" / "model")


def test_prompts_that_the_scorer_was_trained_on_are_left_out(
    trained_here: str, scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`Say 3` to `Say 9`: three of them were trained on, four were not."""
    data, output = pairs(tmp_path / "d.jsonl", range(3, 10)), tmp_path / "e"
    assert main(["eval", trained_here, scorers[0], data, "--output", str(output)]) == 0
    results = json.loads((output / "results.json").read_text())
    here, foreign = (entry["evaluation"] for entry in results["scorers"])
    assert here["trained_on"] == {"known": True, "prompts": 3, "comparisons": 3, "left_out": True}
    assert (here["n"], here["accuracy"]["n"], sum(here["histogram"]["counts"])) == (4, 4, 4)
    assert (foreign["n"], foreign["trained_on"]["known"]) == (7, False)
    (contrast,) = results["scorer_contrasts"]
    assert contrast["gap"]["n"] == 4
    printed = " ".join(capsys.readouterr().out.split())
    assert "Left out are 3 comparisons of 3 prompts that it was trained on." in printed
    assert "Its folder does not say what it was trained on" in printed
    # nothing but what it was trained on
    (only,) = eval_stage([trained_here], pairs(tmp_path / "t.jsonl", range(6))).scorers
    trained_on = only.evaluation.trained_on
    assert (only.evaluation.n, trained_on.comparisons, trained_on.left_out) == (6, 6, False)


def test_what_was_trained_on_goes_along_with_a_scorer(trained_here: str, tmp_path: Path) -> None:
    """Hashes alone, 8 bytes each; a scorer that starts from this one was trained on its prompts
    too."""
    model = load_scorer(trained_here)
    assert model.prompts == prompt_hashes(load_groups(pairs(tmp_path / "d.jsonl", range(6))))
    save_scorer(model, tmp_path / "copy")
    assert load_scorer(tmp_path / "copy").prompts == model.prompts
    kept = np.load(tmp_path / "copy" / "rewarddiff_prompts.npy", allow_pickle=False)
    assert (kept.dtype, kept.size) == (np.uint64, 6)
    assert not any(
        b"Say" in file.read_bytes() for file in (tmp_path / "copy").glob("rewarddiff_prompts*")
    )
    assert new_scorer(ScorerConfig(warm_start=str(tmp_path / "copy"))).prompts == model.prompts
    assert new_scorer(ScorerConfig(backbone=str(tmp_path / "copy"))).prompts == model.prompts
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "copy").num_labels == 1
    (tmp_path / "copy" / "rewarddiff_prompts.npy").write_bytes(b"none")
    with pytest.raises(UserError, match=r"rewarddiff_prompts.npy: not a list of hashes"):
        load_scorer(tmp_path / "copy")


@pytest.fixture(scope="module")
def diverged(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By kind, a scorer whose head overflowed."""
    root = tmp_path_factory.mktemp("diverged")
    for kind in ("reward", "difference"):
        scorer = new_scorer(ScorerConfig(kind=kind, backbone=str(policy_folder)), seed=3)
        for weight in scorer.reader.head_parameters():
            weight.data.fill_(torch.nan)
        scorer.trained = True
        save_scorer(scorer, root / kind)
    return {kind: str(root / kind) for kind in ("reward", "difference")}


KIND_ASKED = {
    "score": "reward", "eval": "difference", "augment": "reward", "bestof": "difference", "designs": "difference",
    "run": "reward",
}  # fmt: skip


@pytest.mark.parametrize("command", KIND_ASKED)
def test_a_scorer_that_gives_no_numbers_is_refused(
    command: str,
    diverged: dict[str, str],
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scorer, kind = diverged[KIND_ASKED[command]], KIND_ASKED[command]
    rows = [
        {"prompt": f"Say {i}", "responses": [f"a{i}", f"bb{i}", f"c{i}!"], "scores": [3, 2, 1]}
        for i in range(8)
    ]
    data, output = write(tmp_path / "d.jsonl", rows), tmp_path / "out"
    model, to = ["--model", str(policy_folder)], ["--output", str(output)]
    recipe = {
        "name": "r", "data": {"path": data, "splits": {"train": 0.5, "test": 0.5}},
        "scorers": {"mine": {"kind": kind, "trained": scorer}},
    }  # fmt: skip
    given = {
        "score": [scorer, data, "--output", f"{output}.jsonl"],
        "eval": [scorer, data, *to],
        "designs": [scorer, data, *to],
        "augment": [
            data,
            *model,
            "--scorer",
            scorer,
            *to,
            "draw=temperature",
            "draw.k=2",
            "draw.max_new_tokens=2",
        ],
        "bestof": [
            data,
            *model,
            "--scorer",
            scorer,
            "--gold",
            scorer,
            *to,
            "n=[1,2]",
            "max_new_tokens=2",
        ],
        "run": [write(tmp_path / "r.yaml", [recipe]), f"output={output}"],
    }[command]
    assert main([command, *given]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    place = scorer if command != "run" else str(output / "scorers" / "mine-0" / "model")
    assert f"{place}: " in line
    assert re.search(r"get no finite number, the first of them in d\.jsonl:\d: ", line)
    assert "smaller lr" in line
    assert not output.is_file()
    assert not list(output.glob("*.json")) + list(output.glob("*.html"))


@pytest.mark.parametrize("kind", ["reward", "difference"])
def test_how_many_numbers_are_lacking_is_counted(kind: str, policy_folder: Path) -> None:
    """The letter z overflows: of eight responses one holds it; of a pair read in both orders both
    readings do."""
    scorer = new_scorer(
        ScorerConfig(kind=kind, head="segments", backbone=str(policy_folder)), seed=3
    )
    letter = scorer.tokenizer("z", add_special_tokens=False)["input_ids"][0]
    scorer.reader.model.get_input_embeddings().weight.data[letter] = torch.inf
    groups = [
        Group(f"g{i}", "Say", ("a", "z" if i == 2 else "b"), source=f"d.jsonl:{i}")
        for i in range(4)
    ]
    count = "1 of 8 responses" if kind == "reward" else "2 of 8 readings"
    with pytest.raises(
        UserError,
        match=f"the scorer: {count} get no finite number, the first of them in d.jsonl:2: ",
    ):
        scores_by(scorer, groups)


def test_names_and_parts_of_the_data_do_nothing_to_the_terminal(
    scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b[2J\x07\u202ex[/]"
    rows = [
        {"prompt": f"p {i}", "chosen": f"y{i}", "rejected": f"n{i}", "subset": hostile}
        for i in range(8)
    ]
    rows[0]["subset"] = "plain"
    (tmp_path / "x[red]\x1b").mkdir()
    data = write(tmp_path / "x[red]\x1b" / "d.jsonl", rows)
    assert main(["eval", *scorers, data, "--output", str(tmp_path / "x[red]\x1b" / "e")]) == 0
    shown = capsys.readouterr()
    assert not set("\x1b\x07\u202e") & set(shown.out + shown.err)
    assert r"\x1b[2J\x07\u202ex[/]" in shown.out  # a part of the collection by its name
    page = (tmp_path / "x[red]\x1b" / "e" / "report.html").read_text()
    assert not set("\x1b\x07\u202e") & set(page)
