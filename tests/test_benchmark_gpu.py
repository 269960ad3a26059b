"""The benchmark for a GPU: all of it runs at tiny size on a CPU, and what fails is written down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import parts, work
from benchmarks.gpu.parts import Part, all_parts
from benchmarks.gpu.shapes import SHAPES
from benchmarks.gpu.summary import projected_hours, summary
from benchmarks.gpu.work import Load

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu_at_tiny_size(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    options = ["--tiny", "--device", "cpu", "--output", str(output)]
    command_line = [sys.executable, "-m", "benchmarks.gpu", *options]
    done = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads(output.read_text("utf-8"))
    outcomes = {line["part"]: line for line in written["parts"]}
    assert list(outcomes) == [part.name for part in all_parts(["tiny"])]
    for name, line in outcomes.items():
        peer_is_missing = name == "tiny/flash-pref-dpo" and "not installed" in line.get("why", "")
        assert line["status"] == "done" or peer_is_missing, line
    # The first step of the three is not counted: two are, of four pairs or of one list.
    groups = {name: line["groups"] for name, line in outcomes.items() if "groups" in line}
    assert groups.pop("tiny/rrhf") == 2
    assert list(groups.values()) == [8] * 9
    ways = ("dpo", "dpo-packed", "dpo-blocks", "dpo-compiled")
    same_work = [outcomes[f"tiny/{name}"] for name in ways]
    assert len({line["tokens"] for line in same_work}) == 1
    assert outcomes["tiny/dpo"]["notes"]["attention"] == "fused"
    assert set(written["summary"]["tiny"]) == {
        "times_trl", "times_packing", "times_blocks", "compiled_times_dpo",
        "reward_times_trl", "mfu",
        "hours_of_an_epoch_of_hh",
    }  # fmt: skip
    assert "gpu tiny/dpo groups/s=" in done.stdout


@pytest.mark.parametrize(
    ("size", "weights"),
    [("135m", 134_515_008), ("1b", 1_235_814_400), ("8b", 8_030_261_248)],
)
def test_shapes_are_those_of_real_models(size: str, weights: int) -> None:
    """All weights as the models' cards state them; products leave out embeddings and norms."""
    shape = SHAPES[size]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape.config)
    assert sum(parameter.numel() for parameter in model.parameters()) == weights
    norms = (2 * shape.num_hidden_layers + 1) * shape.hidden_size
    embeddings = 0 if shape.tied else shape.head
    assert shape.body + shape.head + embeddings + norms == weights


def test_useful_work_by_hand() -> None:
    """A prompt of 10 tokens with responses of 3 and 2: 15 in the body, 5 in the head, 6 FLOP each."""
    shape = SHAPES["tiny"]
    # 2 layers of 2·32² + 2·32·8·2 + 3·32·64 = 9,216 weights; a head of 512·32 = 16,384.
    assert (shape.body, shape.head) == (18_432, 16_384)
    assert Load(15, 5).flops(shape) == 6 * (15 * 18_432 + 5 * 16_384)
    assert Load(15).flops(shape, per_weight=2) == 2 * 15 * 18_432


def test_rows_have_the_tokens_that_trees_count() -> None:
    items = work.policy_items(work.pairs(4), work.word_tokenizer())
    load = Load.of_policy(items)
    prompts = sum(len(item.tree.nodes[0].tokens) for item in items)
    assert load.tokens == prompts + load.predicted
    assert all(item.responses == 2 for item in items)


def test_ratios_are_of_the_same_size() -> None:
    def line(name: str, rate: float) -> dict[str, object]:
        notes = {"reference_groups_per_second": 40.0}
        return {"part": name, "groups_per_second": rate, "mfu": 0.5, "notes": notes}

    figures = summary([line("8b/dpo", 20.0), line("8b/trl-dpo", 8.0), line("1b/dpo-packed", 5.0)])
    assert figures == {
        "8b": {
            "times_trl": 2.5,
            "mfu": 0.5,
            # 1/20 + 2/40 s a pair, 76,000 pairs: 7,600 s.
            "hours_of_an_epoch_of_hh": pytest.approx(7_600 / 3_600),
        },
        "1b": {},
    }
    assert projected_hours(1.0, 1.0, pairs=1) == pytest.approx(3 / 3600)


FAKE = """
import json, sys, time
path, *names = sys.argv[1:]
for name in names:
    with open(path, "a") as lines:
        lines.write(json.dumps({"part": name, "status": "begins"}) + "\\n")
    if name.endswith("hangs"):
        time.sleep(60)
    if name.endswith("dies"):
        sys.exit(3)
    with open(path, "a") as lines:
        lines.write(json.dumps({"part": name, "status": "done", "best": 1.0}) + "\\n")
"""


def test_a_part_that_hangs_or_dies_is_written_down_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(self: command.Run, todo: list[Part], path: Path) -> subprocess.Popen[bytes]:
        names = [part.name for part in todo]
        return subprocess.Popen([sys.executable, "-c", FAKE, str(path), *names])

    monkeypatch.setattr(command.Run, "_started", started)
    monkeypatch.setitem(parts.LIMITS, "tiny", 3.0)
    tasks = ("matmul", "hangs", "dpo", "dies", "rrhf")
    monkeypatch.setattr(parts, "SIDES", dict.fromkeys(tasks, "ours"))
    output = tmp_path / "gpu.json"
    command.Run("cpu", 100.0, output).all([Part("tiny", task) for task in tasks])
    written = json.loads(output.read_text("utf-8"))
    assert [(line["part"], line["status"]) for line in written["parts"]] == [
        ("tiny/matmul", "done"),
        ("tiny/hangs", "failed"),
        ("tiny/dpo", "done"),
        ("tiny/dies", "failed"),
        ("tiny/rrhf", "done"),
    ]
    assert written["parts"][1]["why"] == "took more than 3 s"
    assert written["parts"][3]["why"] == "its process ended with status 3"


def test_parts_without_time_or_package_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command.PACKAGES, "flash-pref", "no_such_package")
    run = command.Run("cpu", 1.0, tmp_path / "gpu.json")
    run.all([Part("tiny", "dpo"), Part("tiny", "flash-pref-dpo")])
    assert [line["why"] for line in run.outcomes] == [
        "no time was left",
        "no_such_package is not installed",
    ]
