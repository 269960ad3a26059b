"""Recipes: what is read, what is refused and in which words, and what is written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.config import checked, dump_yaml, load_recipe, to_dict
from rewarddiff.errors import UserError


@dataclass(frozen=True)
class Train:
    lr: float = 1e-6
    batch_size: int = 8
    schedule: Literal["cosine", "linear"] = "cosine"
    clip: float | Literal["auto"] = "auto"


@dataclass(frozen=True)
class Coefficient:
    source: Literal["difference", "reward"]
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ValueError("alpha must not be negative")


@dataclass(frozen=True)
class Policy:
    objective: Literal["sft", "dpo"] = "dpo"
    coefficient: Coefficient | None = None
    train: Train = Train(lr=1e-5, batch_size=4)


@dataclass(frozen=True)
class ByFile:
    kind: Literal["file"]
    path: Path = Path("x")


@dataclass(frozen=True)
class ByName:
    kind: Literal["name"]
    name: str = "demo"


@dataclass(frozen=True)
class Recipe:
    name: str = "demo"
    data: ByFile | ByName | None = None
    output: Path | None = None
    seeds: tuple[int, ...] = (0,)
    edges: list[float] = field(default_factory=list)
    fast: bool = False
    policies: dict[str, Policy] = field(default_factory=lambda: {"dpo": Policy()})
    train: Train = Train()


def load(data: dict[str, Any] | Path | None = None, *overrides: str) -> Recipe:
    return load_recipe({} if data is None else data, list(overrides), Recipe)


def refusal(data: dict[str, Any] | Path | None = None, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(data, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# --- reading --------------------------------------------------------------------------------------------------------


def test_an_empty_recipe_is_all_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "# nothing\n")) == Recipe() == load({})


def test_a_file_becomes_nested_dataclasses(tmp_path: Path) -> None:
    recipe = load(
        written(
            tmp_path,
            "name: hh\noutput: runs/hh\nseeds: [1, 2]\nedges: [0, 1.5, 1e3]\n"
            "data: {kind: file, path: a.jsonl}\n"
            "policies:\n  weighted:\n    coefficient: {source: reward, alpha: 2}\n",
        )
    )
    assert recipe.output == Path("runs/hh")
    assert recipe.seeds == (1, 2)
    assert recipe.edges == [0.0, 1.5, 1000.0]
    assert recipe.data == ByFile("file", Path("a.jsonl"))
    assert recipe.policies == {"weighted": Policy(coefficient=Coefficient("reward", 2.0))}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-6", 1e-6), ("1E5", 1e5), ("+2.5e-3", 2.5e-3), (".5", 0.5), ("3", 3.0), ("1.", 1.0)],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float) -> None:
    assert load(None, f"train.lr={text}").train.lr == value


@pytest.mark.parametrize(
    "text", ["no", "on", "1e5x", "0x10", "1_000", "12:30", "2024-01-01", "1.2.3", "<<<"]
)
def test_words_stay_words(text: str) -> None:
    # YAML 1.1 would read false, true, 16, 1000, 750 and a date.
    assert load(None, f"name={text}").name == text


def test_a_partial_mapping_keeps_the_rest_of_the_default_it_replaces() -> None:
    # Policy.train defaults to lr 1e-5 and batch 4, which are not the defaults of Train itself.
    policies = load({"policies": {"dpo": {"train": {"lr": 1e-3}}}}).policies
    assert policies["dpo"].train == Train(lr=1e-3, batch_size=4)


@dataclass(frozen=True)
class DPO:
    name: Literal["dpo"] = "dpo"
    beta: float = 0.1


@dataclass(frozen=True)
class SimPO:
    name: Literal["simpo"] = "simpo"
    beta: float = 2.5
    gamma: float = 0.5


@dataclass(frozen=True)
class Trained:
    objective: DPO | SimPO = DPO()


@pytest.mark.parametrize(
    ("given", "overrides", "meant"),
    [
        ({}, [], DPO()),
        ({"objective": "simpo"}, [], SimPO()),
        ({"objective": {"name": "simpo", "gamma": 1.0}}, [], SimPO(gamma=1.0)),
        (
            {"objective": {"beta": 1.0}},
            [],
            DPO(beta=1.0),
        ),  # the default's name, not a guess by the keys
        ({"objective": "dpo"}, ["objective.beta=0.3"], DPO(beta=0.3)),
        ({"objective": {"beta": 0.3}}, ["objective=simpo", "objective.gamma=2"], SimPO(gamma=2.0)),
        ({}, ["objective.name=simpo", "objective.beta=1"], SimPO(beta=1.0)),
    ],
)
def test_one_of_several_is_meant_by_its_name(
    given: dict[str, Any], overrides: list[str], meant: object
) -> None:
    assert load_recipe(given, overrides, Trained).objective == meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "simpoo",
            "'objective.name' is 'simpoo', should be 'dpo' or 'simpo' – did you mean 'simpo'?",
        ),
        ({"gamma": 1.0}, "unknown key 'objective.gamma'"),
        ({"name": "simpo", "gama": 1.0}, "unknown key 'objective.gama' – did you mean 'gamma'?"),
    ],
)
def test_what_is_wrong_with_one_of_several(given: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe({"objective": given}, [], Trained)
    assert message in str(error.value)


# --- overrides ------------------------------------------------------------------------------------------------------


def test_overrides_reach_into_mappings_of_dataclasses_and_keep_their_neighbours() -> None:
    recipe = load(
        {"policies": {"a": {"objective": "sft"}, "b": {}}}, "policies.a.train.lr=1e-4", "name=new"
    )
    assert recipe.policies == {"a": Policy("sft", train=Train(1e-4, 4)), "b": Policy()}
    assert recipe.name == "new"


def test_overrides_start_from_the_defaults_where_the_recipe_is_silent() -> None:
    assert load(None, "policies.dpo.objective=sft").policies == {"dpo": Policy("sft")}
    assert load(None, "seeds.0=7").seeds == (7,)


def test_the_last_override_wins() -> None:
    assert load(None, "train.lr=1", "train.lr=2").train.lr == 2


def test_overrides_do_not_change_what_they_were_given() -> None:
    data: dict[str, Any] = {"train": {"lr": 1.0}}
    load(data, "train.lr=2")
    assert data == {"train": {"lr": 1.0}}


def test_an_override_of_one_alias_leaves_the_other(tmp_path: Path) -> None:
    path = written(tmp_path, "policies:\n  a: &one {train: {lr: 1}}\n  b: *one\n")
    policies = load(path, "policies.b.train.lr=2").policies
    assert (policies["a"].train.lr, policies["b"].train.lr) == (1, 2)


def test_null_and_collections_as_values() -> None:
    assert load({"output": "x"}, "output=null").output is None
    assert load(None, "seeds=[3, 4]").seeds == (3, 4)
    assert load(None, "policies.new={objective: sft}").policies.keys() == {"dpo", "new"}


def test_null_takes_a_named_entry_out() -> None:
    data = {"policies": {"a": {}, "b": {"train": {"lr": 1}}}}
    assert load(data, "policies.b.train.lr=2", "policies.a=null").policies.keys() == {"b"}
    with pytest.raises(UserError, match="nothing is called 'a'"):
        load(data, "policies.a=null", "policies.a.train.lr=3")


def test_a_star_stands_for_every_entry() -> None:
    data = {"policies": {"a": {"train": {"lr": 3}}, "b": {}}}
    policies = load(data, "policies.*.train.lr=1", "policies.b.train.lr=2").policies
    assert [(name, p.train.lr) for name, p in policies.items()] == [("a", 1), ("b", 2)]
    assert load(data, "policies.*=null").policies == {}
    # A value may hold stars and equal signs.
    assert load(data, "name=a.*=b").name == "a.*=b"
    message = refusal(data, "policies.*.train.rate=1")
    assert message.startswith("override 'policies.a.train.rate=1': unknown key")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "policies.*.train.lr=1",
            "override 'policies.*.train.lr=1': the recipe has no entries in 'policies' that * could "
            "stand for; name them in the recipe",
        ),
        ("lr", "override 'lr': expected key=value, as in train.lr=1e-5"),
        ("=3", "override '=3': expected key=value, as in train.lr=1e-5"),
        ("train..lr=3", "override 'train..lr=3': expected key=value, as in train.lr=1e-5"),
        (
            "name=[",
            "override 'name=[': not valid YAML: expected the node content, but found '<stream end>'",
        ),
        ("seeds.3=1", "override 'seeds.3=1': 'seeds' is a list of 1; name one as 0, 1, …"),
        ("seeds.²=1", "override 'seeds.²=1': 'seeds' is a list of 1; name one as 0, 1, …"),
        (
            "policies.dop.train.lr=1",
            "override 'policies.dop.train.lr=1': nothing is called 'dop' in 'policies' – did you mean 'dpo'?",
        ),
        (
            "policies.dop=null",
            "override 'policies.dop=null': nothing is called 'dop' in 'policies' – did you mean 'dpo'?",
        ),
        ("train.lr=fast", "override 'train.lr=fast': 'train.lr' is 'fast', should be a number"),
        ("trai.lr=1", "override 'trai.lr=1': unknown key 'trai' – did you mean 'train'?"),
    ],
)
def test_overrides_refused(override: str, message: str) -> None:
    assert refusal(None, override) == message


# --- refusing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"polices": {"dpo": {}}}, "unknown key 'polices' – did you mean 'policies'?"),
        ({"train": {"lrr": 1}}, "unknown key 'train.lrr' – did you mean 'lr'?"),
        (
            {"train": {"zzz": 1}},
            "unknown key 'train.zzz' – known here: batch_size, clip, lr, schedule",
        ),
        (
            {"policies": {"dpo": {"train": {"bath_size": 1}}}},
            "unknown key 'policies.dpo.train.bath_size' – did ",
        ),
        (
            {"policies": {"dpo": None}},
            "'policies.dpo' is empty, should be a mapping of keys to values",
        ),
        (
            {"policies": {"dpo": {"coefficient": {}}}},
            "key 'policies.dpo.coefficient.source' is missing",
        ),
        (
            {"policies": {"dpo": {"objective": "dop"}}},
            "'policies.dpo.objective' is 'dop', should be 'sft' or 'dpo' – did you mean 'dpo'?",
        ),
        (
            {"policies": {"dpo": {"coefficient": {"source": "reward", "alpha": -1}}}},
            "'policies.dpo.coefficient': alpha must not be negative",
        ),
        (
            {"train": {"clip": "atuo"}},
            "'train.clip' is 'atuo', should be a number or 'auto' – did you mean 'auto'?",
        ),
        ({"train": {"lr": True}}, "'train.lr' is true, should be a number"),
        ({"train": {"lr": "3"}}, "'train.lr' is '3', should be a number"),
        ({"train": {"batch_size": 2.5}}, "'train.batch_size' is 2.5, should be a whole number"),
        ({"fast": 1}, "'fast' is 1, should be true or false"),
        ({"name": 3}, "'name' is 3, should be a string"),
        ({"seeds": 3}, "'seeds' is 3, should be a list"),
        ({"seeds": [1, "a"]}, "'seeds.1' is 'a', should be a whole number"),
        ({"data": {"kind": "name", "path": "a"}}, "unknown key 'data.path' – "),
        ({"data": {"kind": "name", "name": 3}}, "'data.name' is 3, should be a string"),
        ({"data": 3}, "'data' is 3, should be a mapping of keys to values"),
    ],
)
def test_refused_with_place_cause_and_mend(data: dict[str, Any], message: str) -> None:
    assert refusal(data).startswith(f"recipe: {message}")
    assert "more)" not in refusal(data)


def test_the_first_of_several_problems_and_their_number() -> None:
    # Three: the unknown key, the unknown objective, and a list for a string.
    problems = {"polices": 1, "policies": {"dpo": {"objective": "x"}}, "name": []}
    assert refusal(problems).endswith(" (and 2 more)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", ":2: not valid YAML: "),
        ("name: a\nseeds: [1]\nname: b\n", ":3: not valid YAML: key 'name' stands twice"),
        ("- 1\n- 2\n", ": a recipe is a mapping of keys to values, found a list"),
        ("polices: {}\n", ": unknown key 'polices' – did you mean 'policies'?"),
        ("name: !!python/object:os.system {}\n", ":1: not valid YAML: "),
        ("name: \x00\n", ": not valid YAML: "),
        ("policies: &a {dpo: *a}\n", ": contains itself, an alias points to a mapping around it"),
    ],
)
def test_files_refused_by_name_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    assert refusal(path).startswith(f"{path}{message}")


LAUGHS = "a: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "a: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("? [a]\n: b\n", ":1: not valid YAML: a key is a sequence, and no word"),
        ("name: !!bool maybe\n", ": not valid YAML: 'maybe'"),
        ("name: !!int ''\n", ": not valid YAML: "),
        ("name: !!timestamp x\n", ": not valid YAML: "),
        ("name: !!map [a]\n", ":1: not valid YAML: "),
        ("!!timestamp 2020-01-01: x\n", ": holds what no recipe does (keys must be str"),
        (
            f"name: {'[' * 3000}\n",
            ": not valid YAML: more than 50 mappings and lists within each other",
        ),
        (
            "".join(f"{' ' * n}a:\n" for n in range(60)),
            ": more than 50 mappings and lists within each other",
        ),
        (LAUGHS, ": more than 20,000 values, those that aliases repeat among them"),
        (MERGES, ": not valid YAML: a mapping of more than 10,000 keys"),
        (
            f"a: &a {{x: 1}}\nb: {{<<: [{'*a, ' * 20}]}}\n",
            ":2: not valid YAML: more than 10 mappings",
        ),
        (f"name: {'x' * 300_000}\n", ": more than 256 KiB; a recipe is YAML of a page or two"),
    ],
)
def test_files_that_are_meant_to_do_harm(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    begun = time.process_time()
    assert message.removeprefix(":") in refusal(path)
    assert time.process_time() - begun < 5


def test_what_is_no_file_is_no_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("pipe.yaml", "zero.yaml"):
        assert refusal(tmp_path / name).endswith("write the recipe to a file and give that")
    assert "a path has no zero byte" in refusal(tmp_path / "a\0b.yaml")


def test_text_that_is_no_utf8_is_named_by_its_key() -> None:
    assert refusal({"policies": {"a": {"objective": "\ud800"}}}) == (
        "recipe: 'policies.a.objective' holds text that is not UTF-8"
    )


def test_a_part_that_is_merged_before_it_stands_may_say_a_key_anew(tmp_path: Path) -> None:
    """`own` merges `base`, and is merged by `train` above it in the order of making."""
    text = "policies: {a: {train: &own {<<: &base {lr: 1.0, batch_size: 2}, lr: 3.0}}}\ntrain: {<<: *own}\n"
    recipe = load(written(tmp_path, text))
    assert recipe.train == recipe.policies["a"].train == Train(lr=3.0, batch_size=2)


def test_an_entry_may_be_called_a_star(tmp_path: Path) -> None:
    recipe = {"policies": {"*": {"objective": "sft"}}}
    assert load(recipe, "policies.*.objective=dpo").policies["*"].objective == "dpo"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    mend = "check the path, or let `rewarddiff init DATA` write a recipe"
    assert refusal(tmp_path / "none.yaml") == (
        f"{tmp_path}/none.yaml: cannot read the recipe (No such file or directory); {mend}"
    )
    assert refusal(tmp_path) == f"{tmp_path}: cannot read the recipe (Is a directory); {mend}"
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff\xfe")
    assert "byte 6 is not UTF-8" in refusal(tmp_path / "binary.yaml")


# --- writing --------------------------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
trains = st.builds(
    Train,
    lr=finite,
    batch_size=st.integers(),
    schedule=st.sampled_from(["cosine", "linear"]),
    clip=finite | st.just("auto"),
)
words = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["no", "1e-6", "null", "~", "", "1:30", "<<"]
)
policies = st.builds(
    Policy,
    objective=st.sampled_from(["sft", "dpo"]),
    coefficient=st.none()
    | st.builds(Coefficient, st.sampled_from(["difference", "reward"]), st.floats(0, 9)),
    train=trains,
)
recipes = st.builds(
    Recipe,
    name=words,
    data=st.none() | st.builds(ByFile, st.just("file")) | st.builds(ByName, st.just("name"), words),
    output=st.none() | st.just(Path("runs/a b")),
    seeds=st.lists(st.integers()).map(tuple),
    edges=st.lists(finite),
    fast=st.booleans(),
    policies=st.dictionaries(words, policies, max_size=3),
    train=trains,
)


@given(recipes)
def test_what_is_written_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe
) -> None:
    path = written(tmp_path_factory.mktemp("recipes"), dump_yaml(recipe))
    assert load(path) == recipe == load(to_dict(recipe))


def test_fields_are_written_in_their_order_as_plain_data() -> None:
    plain = to_dict(Recipe(output=Path("runs/x")))
    assert list(plain) == [f.name for f in fields(Recipe)]
    assert plain["output"] == "runs/x"
    assert plain["seeds"] == [0]


# --- configurations made in Python ----------------------------------------------------------------------------------


@checked
@dataclass(frozen=True)
class Plain:
    name: Literal["plain"] = "plain"
    weight: float = 1.0


@checked
@dataclass(frozen=True)
class Fancy:
    name: Literal["fancy"] = "fancy"
    steps: int = 3


@checked
@dataclass(frozen=True)
class Made:
    kind: Literal["reward", "difference"] = "reward"
    loss: Plain | Fancy = field(default_factory=Plain)
    sizes: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if len(self.sizes) > 3:
            raise ValueError("sizes are three at most")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kind": "rewrd"},
            "Made: 'kind' is 'rewrd', should be 'reward' or 'difference' – did you mean 'reward'?",
        ),
        (
            {"loss": "fanci"},
            "Made: 'loss.name' is 'fanci', should be 'plain' or 'fancy' – did you mean 'fancy'?",
        ),
        ({"sizes": ["1"]}, "Made: 'sizes.0' is '1', should be a whole number"),
        ({"kid": "reward"}, "Made: unknown key 'kid' – did you mean 'kind'?"),
        (
            {"loss": {"name": "fancy", "steps": 0.5}},
            "Made: 'loss.steps' is 0.5, should be a whole number",
        ),
    ],
)
def test_what_a_recipe_refuses_is_refused_in_python(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        Made(**options)
    assert str(error.value) == message


def test_names_and_lists_do_in_python_as_in_a_recipe() -> None:
    assert Made("difference", "fancy", [4]) == load_recipe(  # type: ignore[arg-type]
        {"kind": "difference", "loss": "fancy", "sizes": [4]}, [], Made
    )
    assert Made(loss=Fancy(steps=7)).loss == Fancy(steps=7)
    assert replace(Made(loss=Fancy()), kind="difference") == Made("difference", Fancy())


def test_rules_between_fields_hold_once_the_types_do() -> None:
    with pytest.raises(ValueError, match="three at most"):
        Made(sizes=(1, 2, 3, 4))
    with pytest.raises(TypeError, match="multiple values"):
        Made("reward", kind="reward")  # type: ignore[misc]


@checked
@dataclass(frozen=True)
class Around:
    loss: Fancy = field(default_factory=lambda: Fancy(steps=9))
    inner: Made = field(default_factory=lambda: Made(kind="difference", sizes=(7,)))


def test_a_part_given_as_a_mapping_keeps_the_other_defaults_of_the_whole() -> None:
    """Keys that are left out are those of the whole's default, not of the part's own."""
    plain = {"inner": {"kind": "reward"}}
    assert Around(**plain) == load_recipe(plain, [], Around)  # type: ignore[arg-type]
    assert Around(**plain).inner.sizes == (7,)  # type: ignore[arg-type]
    assert Around().loss == Fancy(steps=9)
