from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.data import Groups, prompt_hashes, split, split_key, split_of
from rewarddiff.data.split import PromptHashes
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message

FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}


def groups_of(tmp_path: Path, prompts: list[str], topic: str = "") -> Groups:
    groups = [Group(str(n), prompt, ("a", "b"), topic=topic) for n, prompt in enumerate(prompts)]
    return Groups.write(groups, tmp_path / "groups.arrow")


def test_known_places() -> None:
    # by coreutils: printf '0\0a' | b2sum -l 64 -> 15d8d767d2a6ebd3, 0.085 of 2^64; for b
    # 5d3e53b45c97db17, 0.364
    shares = {"first": 0.3, "second": 0.1, "third": 0.6}
    assert split_of("a", shares) == "first"
    assert split_of("b", shares) == "second"


def test_shares_are_met() -> None:
    # 20,000 keys, standard deviation of a share of 0.8: sqrt(0.16 / 20000) = 0.0028; five of them
    splits = [split_of(f"prompt {n}", FRACTIONS) for n in range(20_000)]
    for name, share in FRACTIONS.items():
        assert splits.count(name) / len(splits) == pytest.approx(share, abs=0.0142)


@given(st.text(), st.integers(0, 10))
def test_one_split_takes_everything(key: str, seed: int) -> None:
    assert split_of(key, {"a": 0.0, "b": 1.0, "c": 0.0}, seed) == "b"


def test_the_seed_matters() -> None:
    keys = [f"prompt {n}" for n in range(200)]
    assert [split_of(k, FRACTIONS, 0) for k in keys] != [split_of(k, FRACTIONS, 1) for k in keys]


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}])
def test_fractions_must_add_up(fractions: dict[str, float]) -> None:
    with pytest.raises(UserError, match="make them add up to 1"):
        split_of("x", fractions)


def test_a_prompt_never_straddles(tmp_path: Path) -> None:
    groups = groups_of(tmp_path, [f"prompt {n % 50}" for n in range(200)])
    parts = split(groups, FRACTIONS, seed=3)
    assert sorted(int(g.id) for part in parts.values() for g in part) == list(range(200))
    prompts = [{g.prompt for g in part} for part in parts.values()]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 50


def test_other_rows_do_not_matter(tmp_path: Path) -> None:
    few = split(groups_of(tmp_path, [f"prompt {n}" for n in range(100)]), FRACTIONS)
    more = split(groups_of(tmp_path, [f"prompt {n}" for n in reversed(range(150))]), FRACTIONS)
    for name in FRACTIONS:
        assert {g.prompt for g in few[name]} <= {g.prompt for g in more[name]}


def test_the_topic_decides_where_there_is_one(tmp_path: Path) -> None:
    groups = groups_of(tmp_path, ["for", "against", "both"], topic="debate")
    assert {split_key(g) for g in groups} == {"debate"}
    assert len(split(groups, {"a": 1.0})["a"]) == 3
    assert split_key(Group("1", (Message("user", "Hi"),), ("a", "b"))) == "Hi"


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    groups = groups_of(tmp_path, ["only one"])
    with pytest.raises(UserError, match="got none of 1 groups with 1 different prompts"):
        split(groups, {"train": 0.5, "test": 0.5})


def test_prompts_in_two_sources_have_one_hash() -> None:
    """One prompt: a text, the same with outer spaces, and the same as a single user turn."""
    spellings = [
        Group("1", "Hi", ("a", "b")),
        Group("2", " Hi\n", ("c", "d")),
        Group("3", (Message("user", "Hi"),), ("e",)),
    ]
    (digest,) = prompt_hashes(spellings)
    assert digest == "cd410cebb45ccbcd"  # by coreutils: printf Hi | b2sum -l 64
    assert prompt_hashes([*spellings, Group("4", "hi", ("a", "b"))]) > {digest}


def test_hashes_of_prompts_are_a_set() -> None:
    few, more = PromptHashes([3, 2**64 - 1, 3]), PromptHashes([0, 3, 2**64 - 1])
    assert list(few) == ["0000000000000003", "ffffffffffffffff"]
    assert few == frozenset(few)
    assert few < more
    assert "0000000000000000" not in few
    assert "0000000000000000" in more
    assert few | {"0000000000000000"} == more
    assert few.isdisjoint(PromptHashes([4]))
    assert not few.isdisjoint(more)
    assert not PromptHashes([])
