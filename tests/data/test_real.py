"""The public files as they are: every row is accounted for; counts were checked by hand."""

import gzip
import json
import random
from pathlib import Path

import pytest

from rewarddiff.data import Ledger, load_groups, split, split_key

pytestmark = pytest.mark.shared

# file: rows, groups, comparisons, dropped by reason
FILES = {
    "hh/helpful-base.jsonl.gz": (
        2348, 2333, 2333, {"prompts_differ": 9, "empty_response": 4, "identical_responses": 2},
    ),
    "hh/harmless-base.jsonl.gz": (2267, 2258, 2258, {"prompts_differ": 5, "empty_response": 4}),
    "hh/helpful-rejection-sampled.jsonl.gz": (
        2720, 2685, 2685, {"identical_responses": 32, "prompts_differ": 3},
    ),
    # 821 different pairs; 36 of them were judged again and again
    "tldr/comparisons-batch13.jsonl.gz": (990, 821, 821, {"duplicate": 124, "contradictory": 45}),
    # 726 arguments, 11 of them repeat the text of another
    "ukpconvarg1/pairs.jsonl.gz": (
        11713, 22, 11354, {"duplicate": 223, "contradictory": 124, "identical_responses": 12},
    ),
    "simpeval/past.jsonl.gz": (2400, 100, 22010, {"empty_response": 1}),
    "qa-feedback/dev.jsonl.gz": (500, 500, 3000, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_accounted_for(shared_data: Path, name: str) -> None:
    rows, count, comparisons, dropped = FILES[name]
    ledger = Ledger()
    groups = load_groups(shared_data / name, ledger=ledger)
    assert ledger.total == rows
    assert {
        reason: tally["count"] for reason, tally in ledger.to_dict()["dropped"].items()
    } == dropped
    assert len(groups) == len({group.id for group in groups}) == count
    assert sum(1 for group in groups for _ in group.known_comparisons()) == comparisons
    for group in groups:
        assert len(group.responses) >= 2
        assert all(response.strip() for response in group.responses)
        assert len({response.strip() for response in group.responses}) == len(group.responses)


def test_hh_texts_are_the_file_s(shared_data: Path) -> None:
    path = shared_data / "hh" / "helpful-base.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        lines = stream.readlines()
    for group in load_groups(path):
        row = json.loads(lines[int(group.source.rpartition(":")[2]) - 1])
        assert [str(group.prompt) + response for response in group.responses] == [
            row["chosen"],
            row["rejected"],
        ]


def test_debates_are_split_whole(shared_data: Path) -> None:
    parts = split(load_groups(shared_data / "ukpconvarg1"), {"train": 0.7, "test": 0.3}, seed=1)
    topics = [{split_key(group) for group in part} for part in parts.values()]
    assert len(topics[0] | topics[1]) == 11
    assert not topics[0] & topics[1]


def test_sentences_are_whole_in_any_order_of_their_rows(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "simpeval" / "past.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    (tmp_path / "shuffled.jsonl").write_bytes(b"".join(random.Random(0).sample(lines, len(lines))))
    in_order, shuffled = (
        {
            group.id: dict(zip(map(str.strip, group.responses), group.scores or (), strict=True))
            for group in groups
        }
        for groups in (load_groups(path), load_groups(tmp_path / "shuffled.jsonl"))
    )
    assert shuffled.keys() == in_order.keys()
    for sentence, scores in in_order.items():
        assert shuffled[sentence] == pytest.approx(scores)


def test_known_strengths(shared_data: Path) -> None:
    # the file's second vote is 2 : 1 : 2, a tie; its first 1 : 1 : 3, second argument over first by
    # 2
    group = load_groups(shared_data / "ukpconvarg1" / "pairs.jsonl.gz", limit=1)[0]
    assert [(c.chosen, c.rejected, c.strength) for c in group.comparisons[:2]] == [
        (1, 0, 2.0),
        (0, 2, 0.0),
    ]
    # first sentence, first system: (73 + 88 + 95 + 85 + 87) / 5
    group = load_groups(shared_data / "simpeval" / "past.jsonl.gz", limit=1)[0]
    assert group.scores is not None
    assert group.scores[0] == pytest.approx(85.6)
    # confidence 7 for the second summary
    group = load_groups(shared_data / "tldr" / "comparisons-batch13.jsonl.gz", limit=1)[0]
    assert [(c.chosen, c.rejected, c.strength) for c in group.comparisons] == [(1, 0, 2.0)]
