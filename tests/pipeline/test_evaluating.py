"""`rewarddiff eval` on benchmark files, by the command itself."""

import json
from pathlib import Path

import pytest

from rewarddiff.cli import main
from rewarddiff.encoding import LengthConfig
from rewarddiff.scorers.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.config import ScorerConfig


@pytest.fixture(scope="module")
def scorers(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A reward model and a difference model that read 16 tokens of a response."""
    folders = []
    for kind in ("reward", "difference"):
        config = ScorerConfig(kind=kind, backbone=str(encoder_folder), lengths=LengthConfig(max_response=16))
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


def test_rm_bench_from_file_to_page(scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert {part["domain"] for part in difference["rm_bench"]["by_domain"]} == {"chat", "math", "code", "safety"}
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
    for line in ("rm_bench hard", "rm_bench safety easy", "identical_responses", "p="):
        assert line in printed
    page = (tmp_path / "e" / "report.html").read_text()
    assert "RM-Bench: accuracy by style" in page
    assert "No policy was trained" not in page
    assert "Learning curves" not in page


def results_of(model: object, row: dict[str, object]) -> list[list[float]]:
    from rewarddiff.records import Group, Message

    responses = (*row["chosen"], *row["rejected"])  # type: ignore[misc]
    group = Group("g", (Message("user", str(row["prompt"])),), responses)
    return [scores.tolist() for scores in model.scores([group])]  # type: ignore[attr-defined]


def test_rows_of_one_prompt_are_one_prompt(scorers: list[str], tmp_path: Path) -> None:
    rows = [{"prompt": "Say it", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(4)]
    assert main(["eval", scorers[0], write(tmp_path / "d.jsonl", rows), "--output", str(tmp_path / "e")]) == 0
    (entry,) = json.loads((tmp_path / "e" / "results.json").read_text())["scorers"]
    assert (entry["evaluation"]["n"], entry["evaluation"]["n_groups"]) == (4, 1)
    assert entry["evaluation"]["accuracy"]["low"] is None


def test_rewardbench_and_graded_lists(scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two right answers against three wrong ones are six comparisons; four with scores 3 > 1 = 1 > 0 five and a tie."""
    bench = [{"prompt": f"Say {i}", "chosen": ["yes", "aye"], "rejected": ["no", "nay", "x"]} for i in range(3)]
    rows = [{**row, "subset": "chat" if i else "safety"} for i, row in enumerate(bench)]
    lists = [{"prompt": f"Say {i}", "responses": ["a", "bb", "ccc", "d"], "scores": [3, 1, 1, 0]} for i in range(3)]
    found = {}
    for name, data in (("bench", rows), ("lists", lists)):
        output = tmp_path / f"e-{name}"
        assert main(["eval", *scorers, write(tmp_path / f"{name}.jsonl", data), "--output", str(output)]) == 0
        results = json.loads((output / "results.json").read_text())
        found[name] = results["scorers"][0]["evaluation"]
    assert (found["bench"]["n"], found["bench"]["n_groups"], found["bench"]["best_of_n"]["first"]["n"]) == (18, 3, 3)
    assert [part["accuracy"]["n"] for part in found["bench"]["by_subset"]] == [12, 6]
    assert (found["lists"]["n"], found["lists"]["ties"]) == (15, 3)
    assert [part["low"] for part in found["lists"]["by_strength"]] == [1, 2, 3]
    assert found["lists"]["baselines"]["length"]["spearman_strength"]["value"] is not None
    printed = capsys.readouterr().out
    for line in ("by_subset safety", "best_of_n first", "by_strength 2", "spearman_strength"):
        assert line in printed


def test_a_scorer_of_aspects(encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aspects = {"helpful": 0.5, "harmless": 0.5}
    scorer = new_scorer(ScorerConfig(backbone=str(encoder_folder), aspects=aspects), seed=3)
    scorer.trained, scorer.temperature = True, 2.0
    save_scorer(scorer, tmp_path / "two")
    rows = [{"prompt": f"Say {i}", "chosen": f"yes {i}", "rejected": "n", "subset": "helpful"} for i in range(5)]
    assert (
        main(["eval", str(tmp_path / "two"), write(tmp_path / "d.jsonl", rows), "--output", str(tmp_path / "e")]) == 0
    )
    (entry,) = json.loads((tmp_path / "e" / "results.json").read_text())["scorers"]
    assert [(part["aspect"], part["own"]["n"]) for part in entry["evaluation"]["by_aspect"]] == [("helpful", 5)]
    assert entry["evaluation"]["calibrated"]["temperature"] == 2
    assert "by_aspect helpful own" in capsys.readouterr().out
    page = (tmp_path / "e" / "report.html").read_text()
    assert "Accuracy of aspects" in page
    assert "Probabilities at the temperature each scorer keeps" in page


def test_texts_beyond_the_limits_are_counted(scorers: list[str], tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {i}", "chosen": "y" * (14 + i), "rejected": "n"} for i in range(5)]  # 16 tokens are read
    for scorer in scorers:
        assert main(["eval", scorer, write(tmp_path / "d.jsonl", rows), "--output", str(tmp_path / "e")]) == 0
        results = json.loads((tmp_path / "e" / "results.json").read_text())
        assert results["scorers"][0]["evaluation"]["cut"] == {"prompt": 0, "response": 2}
        assert results["notes"][0].endswith(" It read 2 with a response beyond its limits in part.")


def test_what_cannot_be_measured_is_refused(
    scorers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single = write(tmp_path / "d.jsonl", [{"prompt": f"P{i}", "completion": "c", "label": True} for i in range(4)])
    assert main(["eval", scorers[0], single]) == 2
    assert f"{single}: compares no two responses" in capsys.readouterr().err
    assert main(["eval", scorers[0], scorers[0], single]) == 2
    assert f"{scorers[0]}: given twice" in capsys.readouterr().err
