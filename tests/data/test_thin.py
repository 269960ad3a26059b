"""Drawing some of a group's comparisons."""

from rewarddiff.data.thinning import thin
from rewarddiff.records import Comparison, Group

GROUP = Group("g", "p", tuple("abcde"), scores=(1.0, 2.0, 3.0, 4.0, 5.0))


def test_a_small_group_stays_as_it_is() -> None:
    assert thin(GROUP, 10) is GROUP  # five scored responses: ten comparisons


def test_some_of_many_are_kept_with_the_responses_they_read() -> None:
    kept = thin(GROUP, 2)
    assert len(kept.comparisons) == 2
    read = {kept.responses[i] for c in kept.comparisons for i in (c.chosen, c.rejected)}
    assert read == set(kept.responses)
    worth = dict(zip(GROUP.responses, (1, 2, 3, 4, 5), strict=True))
    for c in kept.comparisons:  # each still says what it said, by as much
        gap = worth[kept.responses[c.chosen]] - worth[kept.responses[c.rejected]]
        assert c.strength == gap > 0


def test_the_draw_depends_on_seed_and_id_alone() -> None:
    assert thin(GROUP, 3) == thin(GROUP, 3)
    explicit = Group(
        "h", "p", tuple("abcdef"), comparisons=tuple(Comparison(i, i + 1) for i in range(5))
    )
    assert len({thin(explicit, 2, seed).responses for seed in range(20)}) > 1
