"""Items in files: what the loop asks of all of them makes none, and a step makes each of its own once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from test_loop import Line, Point, points

from rewarddiff.loop.items import Filed, FiledPart, Joined, Picked, digest
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.loop.train import train

CONFIG = TrainConfig(precision="fp32", batch_size=4, eval_every=None, microbatch_tokens=20)


class OnDisk(Filed[Point]):
    """Points that are made anew whenever one is asked for, and how often that was."""

    def __init__(self, count: int) -> None:
        self.sizes = [10] * count
        self.made: list[int] = []

    def __len__(self) -> int:
        return len(self.sizes)

    def make(self, place: int) -> Point:
        self.made.append(place)
        return points(len(self))[place]

    def digest(self) -> str:
        return "these points"


class Probing(Line):
    """Looks at the whole batch first, and remembers which objects it was shown."""

    probes = True

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, float] = {}
        self.begun: list[int] = []
        self.trained: list[int] = []

    def probe(self, module: Any, items: Sequence[Point]) -> list[float]:
        return [0.0 for _ in items]

    def begin(self, items: Sequence[Point], probed: Sequence[float], *, training: bool) -> None:
        self.begun += map(id, items)

    def loss(self, module: Any, items: Sequence[Point]) -> LossOutput:
        self.trained += map(id, items)
        return super().loss(module, items)


def test_each_item_is_made_once_a_step_and_none_for_all_of_them(tmp_path: Path) -> None:
    items = OnDisk(12)
    train(Line(), items, output=tmp_path, config=CONFIG)
    assert sorted(items.made) == list(range(12))  # an epoch of three steps


def test_few_steps_make_few_items(tmp_path: Path) -> None:
    # Two batches of four items of 10 tokens are 80 tokens: the third would be beyond 90.
    items = OnDisk(40)
    config = TrainConfig(precision="fp32", batch_size=4, max_tokens=90, eval_every=None)
    assert train(Line(), items, output=tmp_path, config=config).steps == 2
    assert len(items.made) == 8


def test_what_is_seen_of_a_batch_before_its_losses_is_what_they_are_of(tmp_path: Path) -> None:
    objective = Probing()
    train(objective, OnDisk(4), output=tmp_path, config=CONFIG)
    assert sorted(objective.begun) == sorted(objective.trained)
    assert len(set(objective.begun)) == 4


def test_the_hash_of_items_is_of_their_content_and_order() -> None:
    assert digest(points(3)) == digest(points(3))
    assert digest(points(3)) != digest(points(3)[::-1])
    assert digest(OnDisk(3)) == "these points"


def test_items_are_picked_by_places() -> None:
    items = points(5)
    picked = Picked(items, [3, 1, 4])
    assert list(picked) == [items[3], items[1], items[4]]
    assert picked[2] is items[4]
    assert list(picked[1:]) == [items[1], items[4]]
    assert list(Picked({7: "seven"}, [7])) == ["seven"]


def test_a_part_of_items_in_files_is_known_by_its_places() -> None:
    items = OnDisk(6)
    part = FiledPart(items, [4, 1])
    assert list(part) == [points(6)[4], points(6)[1]]
    assert list(part.sizes) == [10, 10]
    assert digest(part) == digest(FiledPart(items, [4, 1]))
    assert len({digest(items), digest(part), digest(FiledPart(items, [1, 4]))}) == 3


def test_two_sequences_are_read_as_one() -> None:
    first, second = points(2), points(4)[2:]
    joined = Joined(first, second)
    assert list(joined) == points(4)
    assert joined[-1] == second[1]
    assert joined[1:3] == [first[1], second[0]]
