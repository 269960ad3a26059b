"""Changes between a stop in the middle of a training and the same command: no result is made of both.

    python tests/faults/changes.py          # all of them
    python tests/faults/changes.py 12       # twelve, spread over all
    python tests/faults/changes.py 12 recipe   # of those whose name begins so

Recipes and Python: settings, seeds, rows, weights, models' configurations, tokenizers, templates, scorers,
rewards, versions. After each the command has to stop with a line that names what is another, or to come to what
it comes to in an empty folder.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import compare
import numpy as np
import tiny
import torch
import transformers
from damage import Case, Stopped, made_fast, stopped_at
from safetensors.torch import load_file, save_file
from tally import Tally

import rewarddiff as rd
from rewarddiff.errors import UserError
from rewarddiff.loop import train as loop
from rewarddiff.pipeline import stage
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scoring import parts, windows

Work = Callable[[Path], object]

GOOD = ("stopped with a diff", "made anew", "made anew without a word", "of no consequence")
"""It stopped with what is another; it came to what it comes to in an empty folder, having said why, or without a
word, as another seed has folders of its own; or what it comes to hangs on no change."""


def nothing(_: Path) -> None:
    """Change no file."""


@dataclass
class Change:
    """What is done between a stop and the command.

    Attributes:
        begun: the name of the state that it is done to.
        again: the command as it is then called.
        edit: changes files of models and data.
        says: what has to be named.
    """

    name: str
    begun: str
    again: Work
    edit: Work = nothing
    says: str = ""


@dataclass
class Begun:
    """A command that is stopped in its `call`-th update."""

    work: Work
    call: int = 2
    place: Any = torch.optim.AdamW
    function: str = "step"


class World:
    """Models and data in a folder, commands that were stopped, and what they come to unchanged."""

    def __init__(self, place: Path) -> None:
        self.files = place / "files"
        self.files.mkdir(parents=True)
        self.models = tiny.models(self.files)
        self.output = place / "output"
        self.fresh = place / "fresh"
        self._kept = place / "kept"
        self._place = place
        self._whole: dict[str, Any] = {}

    def left(self, name: str, begun: Begun) -> Any:
        """Keep what a command leaves when it is stopped; return what it comes to when it is not."""
        if name not in self._whole:
            clear(self.fresh)
            Case.heard(lambda: begun.work(self.fresh))
            self._whole[name] = outcome(self.fresh)
            clear(self.output)
            with stopped_at(begun.call, begun.place, begun.function):
                Case.heard(lambda: begun.work(self.output))
            shutil.copytree(self.output, self._kept / name)
        return self._whole[name]

    def restore(self, name: str) -> None:
        clear(self.output)
        shutil.copytree(self._kept / name, self.output)

    @contextmanager
    def edited(self, edit: Work) -> Iterator[None]:
        """Change files for a while."""
        before = self._place / "before"
        shutil.copytree(self.files, before)
        try:
            edit(self.files)
            yield
        finally:
            clear(self.files)
            before.rename(self.files)

    def verdict(self, change: Change, begun: Begun) -> str:
        """Make a change, run the command, and return one of `GOOD`, or what is wrong."""
        unchanged = self.left(change.begun, begun)
        self.restore(change.begun)
        with self.edited(change.edit):
            try:
                text = Case.heard(lambda: change.again(self.output))
            except UserError as error:
                is_named = "of another training (" in str(error) and change.says in str(error)
                return "stopped with a diff" if is_named else f"stopped, and said: {error}"
            reached = outcome(self.output)
            clear(self.fresh)
            Case.heard(lambda: change.again(self.fresh))
            expected = outcome(self.fresh)
        fault = compare.fault(expected, within(reached, expected))
        if fault:
            return f"a mix: {fault}"
        if (change.says or "made anew") in text:
            return "made anew"
        if not compare.fault(expected, unchanged):
            return "of no consequence"
        return "made anew without a word"


def within(reached: Any, expected: Any) -> Any:
    """Return what was reached of what is expected: stages of another seed or name may lie beside it."""
    if not (isinstance(reached, dict) and isinstance(expected, dict)):
        return reached
    return {key: within(reached[key], expected[key]) for key in reached if key in expected}


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def outcome(folder: Path) -> Any:
    """Return what a command has come to, wherever: weights, curves, scores."""
    rows = {path.name: compare.hashed(path) for path in folder.glob("*.jsonl")}
    rows.pop("metrics.jsonl", None)
    numbers = compare.numbers(folder)
    return {"numbers": numbers, "curves": compare.curves(folder), "rows": rows}


# --- files ----------------------------------------------------------------------------------------------------------


def rows(count: int = 24, mark: str = "!!!", asked: str = "Say it") -> list[dict[str, Any]]:
    return tiny.turns(tiny.pairs(count, asked, mark))


def write_rows(folder: Path, content: Sequence[dict[str, Any]]) -> None:
    tiny.lines(folder / "pairs.jsonl", content)


def json_edit(name: str, **values: Any) -> Work:
    return lambda files: tiny.edit(files / name, **values)


def other_weights(name: str) -> Work:
    """Make a weight another one."""

    def edit(files: Path) -> None:
        path = files / name / "model.safetensors"
        tensors = load_file(path)
        largest = max(tensors, key=lambda name: tensors[name].numel())
        tensors[largest] = tensors[largest] * 1.5
        save_file(tensors, path, metadata={"format": "pt"})

    return edit


def swapped_weights(name: str) -> Work:
    """Let two rows of the embeddings change places: every sum over all stays."""

    def edit(files: Path) -> None:
        path = files / name / "model.safetensors"
        tensors = load_file(path)
        table = next(key for key in sorted(tensors) if "embed" in key and tensors[key].dim() == 2)
        places = list(range(len(tensors[table])))
        places[100], places[101] = places[101], places[100]
        tensors[table] = tensors[table][places].clone()
        save_file(tensors, path, metadata={"format": "pt"})

    return edit


def other_template(name: str) -> Work:
    def edit(files: Path) -> None:
        path = files / name / "chat_template.jinja"
        if path.exists():
            path.write_text(path.read_text().replace(": ", "> "))
            return
        template = "{{ messages[0].content }}>"
        tiny.edit(files / name / "tokenizer_config.json", chat_template=template)

    return edit


def other_frame(name: str) -> Work:
    """Let the tokenizer put a pair between two begin tokens."""

    def edit(files: Path) -> None:
        path = files / name / "tokenizer.json"
        content = json.loads(path.read_text())
        pair = content["post_processor"]["pair"]
        pair.insert(0, deepcopy(pair[0]))
        path.write_text(json.dumps(content))

    return edit


# --- recipes --------------------------------------------------------------------------------------------------------

SMALL = tiny.TRAIN | {"max_steps": 3, "warmup": 0.0}


def recipe(world: World, kind: str) -> dict[str, Any]:
    """Return a recipe of a scorer alone, with a policy on its differences, or with one that samples."""
    content: dict[str, Any] = {
        "name": "changes",
        "data": {"path": str(world.files / "pairs.jsonl"), "splits": {"train": 0.8, "dev": 0.2}},
        "lengths": tiny.LENGTHS,
        "scorers": tiny.scorers(world.models, SMALL, ["reward"]),
    }
    if kind == "scorer":
        return content
    content["model"] = world.models["policy"]
    if kind == "policy":
        policy = tiny.policy({"name": "dpo", "beta": 0.1}, SMALL, "reward")
    else:
        policy = tiny.online(SMALL | {"max_steps": 4})
    content["policies"] = {"ours": policy}
    return content


def with_key(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a recipe with another value at a dotted key."""
    changed = deepcopy(content)
    *outer, last = key.split(".")
    place = changed
    for name in outer:
        place = place.setdefault(name, {})
    place[last] = value
    return changed


def run(content: dict[str, Any], output: Path) -> None:
    run_recipe({**content, "output": str(output)}, [])


SCORER_KEYS: dict[str, Any] = {
    "train.lr": 2e-3,
    "train.head_lr": 3e-3,
    "train.batch_size": 5,
    "train.max_steps": 4,
    "train.schedule": "constant",
    "train.warmup": 0.5,
    "train.max_grad_norm": 0.01,
    "train.weight_decay": 0.5,
    "train.precision": "bf16",
    "train.dropout": True,
    "train.eval_every": 1,
    "train.save_every": 2,
    "lengths.max_response": 3,
    "lengths.max_prompt": 5,
    "pooling": "cls",
    "heads": 2,
    "loss": {"name": "bradley-terry", "center": 0.1},
    "odin": {},
    "comparisons": 12,
}
"""Keys of a scorer, each with another value."""

POLICY_KEYS: dict[str, Any] = {
    "train.lr": 2e-3,
    "train.dropout": True,
    "train.weights": "bf16",
    "objective.beta": 0.3,
    "objective": "ipo",
    "objective.nll": 0.5,
    "coefficient.alpha": 1.0,
    "coefficient.negative": "clip",
    "coefficient.normalise": "mean",
    "coefficient.control": "shuffled",
    "coefficient.source": "length",
    "lora": {"r": 2, "alpha": 4},
}

ONLINE_KEYS: dict[str, Any] = {
    "online.temperature": 0.7,
    "online.num_generations": 3,
    "online.num_mini_batches": 1,
    "online.num_iterations": 2,
    "online.max_new_tokens": 3,
    "online.kl.kl_coef": 0.3,
    "online.epsilon": 0.05,
    "online.advantage.estimator": "grpo",
    "online.reward.kind": "group_difference",
}


def of_recipes(world: World) -> tuple[dict[str, Begun], list[Change]]:
    """Return recipes that are stopped in a scorer, in a policy and in a turn, and changes of each."""
    recipes = {kind: recipe(world, kind) for kind in ("scorer", "policy", "online")}
    begun = {
        "scorer": Begun(partial(run, recipes["scorer"]), 2),
        "policy": Begun(partial(run, recipes["policy"]), 5),
        "online": Begun(partial(run, recipes["online"]), 6),
    }
    changes = []

    def change(
        kind: str, name: str, content: dict[str, Any], edit: Work = nothing, says: str = ""
    ) -> None:
        changes.append(Change(f"recipe, {kind}: {name}", kind, partial(run, content), edit, says))

    of_place = (
        ("scorer", "scorers.reward", SCORER_KEYS),
        ("policy", "policies.ours", POLICY_KEYS),
        ("online", "policies.ours", ONLINE_KEYS),
    )
    for kind, place, keys in of_place:
        for key, value in keys.items():
            content = with_key(recipes[kind], f"{place}.{key}", value)
            if key == "train.weights":
                content = with_key(content, f"{place}.train.precision", "bf16")
            if value == "length":
                content = with_key(content, "scorers.length", {"kind": "length"})
            change(kind, key, content, says=key.rpartition(".")[2])
        for key, value in {"seed": 7, "data.limit": 20, "data.seed": 3}.items():
            change(kind, key, with_key(recipes[kind], key, value))
        change(kind, "splits", with_key(recipes[kind], "data.splits", {"train": 0.6, "dev": 0.4}))
        # The same shares, dealt out from the other end.
        turned = {"dev": 0.2, "train": 0.8}
        change(kind, "the order of splits", with_key(recipes[kind], "data.splits", turned))
        unchanged = recipes[kind]
        change(
            kind, "a row", unchanged, lambda files: write_rows(files, [*rows(23), *rows(1, "?")])
        )
        change(kind, "the order of rows", unchanged, lambda files: write_rows(files, rows()[::-1]))
        for name in ("encoder",) if kind == "scorer" else ("encoder", "policy"):
            change(kind, f"weights of the {name}", unchanged, other_weights(name))
            change(kind, f"rows of weights of the {name}", unchanged, swapped_weights(name))
            change(kind, f"template of the {name}", unchanged, other_template(name))
    change("scorer", "frame of pairs", recipes["scorer"], other_frame("encoder"))
    change(
        "scorer",
        "activation",
        recipes["scorer"],
        json_edit("encoder/config.json", hidden_act="relu"),
    )
    for name, value in (("rope_theta", 500.0), ("rms_norm_eps", 0.1), ("hidden_act", "relu")):
        edit = json_edit("policy/config.json", **{name: value})
        if name == "rope_theta":
            edit = json_edit(
                "policy/config.json", rope_parameters={"rope_theta": 500.0, "rope_type": "default"}
            )
        change("policy", f"{name} of the model", recipes["policy"], edit)
    change(
        "policy", "lr of the scorer", with_key(recipes["policy"], "scorers.reward.train.lr", 2e-3)
    )
    change("policy", "lengths", with_key(recipes["policy"], "lengths.max_response", 3))
    change("online", "lengths", with_key(recipes["online"], "lengths.max_prompt", 5))
    change(
        "online", "lr of the scorer", with_key(recipes["online"], "scorers.reward.train.lr", 2e-3)
    )
    for kind, of in recipes.items():
        for name, place, attribute in (
            ("rewarddiff", stage, "__version__"),
            ("torch", torch, "__version__"),
            ("transformers", transformers, "__version__"),
        ):
            work = partial(as_of_another_version, place, attribute, partial(run, of))
            changes.append(Change(f"recipe, {kind}: version of {name}", kind, work, says="9.9.9"))
    return begun, changes


def as_of_another_version(place: Any, attribute: str, work: Work, output: Path) -> None:
    """Run a command as if a library were of another version."""
    before = getattr(place, attribute)
    setattr(place, attribute, "9.9.9")
    try:
        work(output)
    finally:
        setattr(place, attribute, before)


# --- Python ---------------------------------------------------------------------------------------------------------

TRAIN = rd.TrainConfig(**SMALL)


def groups_of(world: World, path: str = "pairs.jsonl") -> list[rd.Group]:
    return list(rd.load_groups(world.files / path))


def of_scorers(world: World) -> tuple[dict[str, Begun], list[Change]]:
    """Return a scorer that is trained from Python, stopped in its second step, and changes."""
    config = rd.ScorerConfig(
        backbone=world.models["encoder"], train=TRAIN, lengths=rd.LengthConfig(max_response=48)
    )

    def work(output: Path, config: rd.ScorerConfig = config, seed: int = 0, cut: int = 18) -> None:
        groups = groups_of(world)
        rd.train_scorer(config, groups[:cut], groups[18:], output=output, seed=seed)

    changes = []

    def change(name: str, edit: Work = nothing, says: str = "", **options: Any) -> None:
        again = partial(work, **options)
        changes.append(Change(f"Python, scorer: {name}", "of a scorer", again, edit, says))

    def other(**settings: Any) -> rd.ScorerConfig:
        return replace(config, **settings)

    for name, value in (
        ("lr", 2e-3), ("max_steps", 4), ("batch_size", 5), ("precision", "bf16"), ("dropout", True),
        ("weight_decay", 0.5), ("schedule", "linear"),
    ):  # fmt: skip
        change(name, says=name, config=other(train=replace(TRAIN, **{name: value})))
    change("kind", says="", config=other(kind="difference"))
    change("loss", says="center", config=other(loss=rd.BradleyTerry(center=0.1)))
    change("heads", says="heads", config=other(heads=2))
    change("lengths", says="max_response", config=other(lengths=rd.LengthConfig(max_response=3)))
    change("seed", says="seed", seed=5)
    change("rows", says="other rows", cut=17)
    change("a row", lambda files: write_rows(files, [*rows(1, "?"), *rows()[1:]]), "other rows")
    change("a row of dev", lambda files: write_rows(files, [*rows(23), *rows(1, "?")]), "dev")
    change("weights", other_weights("encoder"), "weights")
    change("rows of weights", swapped_weights("encoder"), "weights")
    change("activation", json_edit("encoder/config.json", hidden_act="relu"), "another model")
    change("frame of pairs", other_frame("encoder"), "tokenizer")
    return {"of a scorer": Begun(work)}, changes


def of_policies(world: World) -> tuple[dict[str, Begun], list[Change]]:
    """Return a policy that is trained from Python, stopped in its second step, and changes."""
    config = rd.PolicyConfig(objective=rd.DPO(beta=0.1), train=TRAIN)
    bf16 = replace(config, train=replace(TRAIN, precision="bf16", weights="bf16", lr=0.1))

    def work(
        output: Path,
        config: rd.PolicyConfig = config,
        seed: int = 0,
        lengths: rd.LengthConfig | None = None,
        weight: float = 1.0,
    ) -> None:
        groups = groups_of(world)
        coefficients = [[weight if i == 3 else 1.0] for i in range(len(groups))]
        rd.train_policy(
            world.models["policy"], groups, coefficients, output=output, config=config, seed=seed,
            lengths=lengths,
        )  # fmt: skip

    changes = []

    def change(
        name: str, edit: Work = nothing, says: str = "", begun: str = "of a policy", **options: Any
    ) -> None:
        again = partial(work, **options)
        changes.append(Change(f"Python, policy: {name}", begun, again, edit, says))

    for name, value in (("lr", 2e-3), ("dropout", True), ("precision", "bf16"), ("warmup", 0.5)):
        change(name, says=name, config=replace(config, train=replace(TRAIN, **{name: value})))
    change("beta", says="beta", config=replace(config, objective=rd.DPO(beta=0.3)))
    change("objective", says="options.name", config=replace(config, objective=rd.IPO()))
    change("adapters", says="weights", config=replace(config, lora=rd.LoraConfig(r=2, alpha=4)))
    change("a coefficient", says="other rows", weight=0.5)
    change("seed", says="seed", seed=5)
    change("lengths", says="other rows", lengths=rd.LengthConfig(max_response=3))
    change("weights", other_weights("policy"), "weights")
    change("rows of weights", swapped_weights("policy"), "weights")
    change("template", other_template("policy"), "other rows")
    change("rms_norm_eps", json_edit("policy/config.json", rms_norm_eps=0.1), "another model")
    theta = {"rope_theta": 500.0, "rope_type": "default"}
    change("rope_theta", json_edit("policy/config.json", rope_parameters=theta), "another model")
    change("activation", json_edit("policy/config.json", hidden_act="relu"), "another model")
    master = replace(bf16, train=replace(bf16.train, weights="bf16-master"))
    change("bf16 with a master copy", says="bf16-master", begun="of a bf16 policy", config=master)
    begun = {
        "of a policy": Begun(work),
        # Its optimizer is not torch's, and there is nothing of it to stop at but the loss.
        "of a bf16 policy": Begun(partial(work, config=bf16), 2, loop._Run, "_update"),
    }
    return begun, changes


LIMIT = 1


def lengths(groups: Sequence[rd.Group]) -> list[list[float]]:
    """r: how many characters a response has, less those that it may have."""
    return [[len(text) - LIMIT for text in group.responses] for group in groups]


def vowels(groups: Sequence[rd.Group]) -> list[list[float]]:
    return [[sum(c in "aeiou" for c in text) for text in group.responses] for group in groups]


def times(factor: float) -> Any:
    return lambda groups: [
        [factor * len(text) ** 2 for text in group.responses] for group in groups
    ]


def of_tables(table: dict[str, float], groups: Sequence[rd.Group]) -> list[list[float]]:
    return [[table.get(text[:1], 0.0) for text in group.responses] for group in groups]


class Wordy:
    """A reward that is an object."""

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def __call__(self, groups: Sequence[rd.Group]) -> list[list[float]]:
        return [
            [sum(map(text.count, self.letters)) for text in group.responses] for group in groups
        ]


MODULE = """
def score(text):
    return SIGN * sum(map(ord, text)) / 100
"""
SOURCES = {
    "a module": "import ours\ndef reward(groups): return [list(map(ours.score, g.responses)) for g in groups]",
    "a cached function": """
import functools
@functools.cache
def score(text): return SIGN * sum(map(ord, text)) / 100
def reward(groups): return [list(map(score, g.responses)) for g in groups]
""",
    "a table of a class": """
class Reward:
    FACTORS = {"sum": SIGN}
    def __call__(self, groups):
        return [[self.FACTORS["sum"] * sum(map(ord, text)) / 100 for text in g.responses] for g in groups]
reward = Reward()
""",
    "what functions hold": """
def reward(groups): return [[reward.sign * sum(map(ord, text)) / 100 for text in g.responses] for g in groups]
reward.sign = SIGN
""",
    "a layer's code": """
import torch
class Layer(torch.nn.Module):
    def forward(self, text): return SIGN * sum(map(ord, text)) / 100
layer = Layer()
def reward(groups): return [list(map(layer, g.responses)) for g in groups]
""",
}
"""Files of a user's own, with a number in them that a reward hangs on."""


class Edited:
    """A reward of a file, imported anew, as another process does."""

    def __init__(self, name: str, sign: int) -> None:
        self.name = name
        self.sign = sign

    def reward(self) -> Any:
        imported("ours", MODULE.replace("SIGN", str(self.sign)))
        return imported("ours_too", SOURCES[self.name].replace("SIGN", str(self.sign))).reward


def imported(name: str, source: str) -> Any:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(source, module.__dict__)
    return module


def of_online(world: World) -> tuple[dict[str, Begun], list[Change]]:
    """Return policies that learn from their own samples, each by a reward of another form, and changes."""
    train = replace(TRAIN, batch_size=2, max_steps=4)
    config = rd.OnlineConfig(
        train=train, advantage=rd.AdvantageConfig(estimator="rloo"), num_generations=2, num_mini_batches=2,
        max_new_tokens=4,
    )  # fmt: skip

    def scorer(place: str = "scorer") -> NeuralScorer:
        return rd.load_scorer(world.files / place)

    def work(
        output: Path, reward: Any = lengths, config: rd.OnlineConfig = config, seed: int = 0
    ) -> None:
        prompts = groups_of(world)[:8]
        made = reward() if reward in (scorer, scored) else reward
        made = reward.reward() if isinstance(reward, Edited) else made
        rd.train_online(world.models["policy"], prompts, made, config, output=output, seed=seed)

    def scored() -> Any:
        return rd.RewardFunctions(scores=scorer().rewards)

    saved = world.files / "scorer"
    rd.train_scorer(
        rd.ScorerConfig(backbone=world.models["encoder"], train=replace(TRAIN, save_every=0)),
        groups_of(world), output=saved.with_name("scorer-of"),
    )  # fmt: skip
    (saved.with_name("scorer-of") / "model").rename(saved)

    rewards: dict[str, Any] = {
        "by a function": lengths,
        "by a lambda": times(1.0),
        "by a partial": partial(of_tables, {"a": 1.0}),
        "by an object": Wordy("ae"),
        "by RewardFunctions": rd.RewardFunctions(scores=times(1.0)),
        "by a scorer": scorer,
        "by a scorer's rewards": scored,
    }
    rewards |= {f"by {name}": Edited(name, 1) for name in SOURCES}
    begun = {name: Begun(partial(work, reward=reward), 3) for name, reward in rewards.items()}
    changes = []

    def change(
        name: str, begun: str, edit: Work = nothing, says: str = "rewards", **options: Any
    ) -> None:
        again = partial(work, **options)
        changes.append(Change(f"Python, online: {name}", begun, again, edit, says))

    change("another function", "by a function", reward=vowels)
    change("what a lambda holds", "by a lambda", reward=times(-1.0))
    change("a table", "by a partial", reward=partial(of_tables, {"a": -1.0}))
    change("an object's letters", "by an object", reward=Wordy("sn"))
    change(
        "what RewardFunctions hold",
        "by RewardFunctions",
        reward=rd.RewardFunctions(scores=times(-1.0)),
    )
    change("weights of the scorer", "by a scorer", other_weights("scorer"), reward=scorer)
    change("tokenizer of the scorer", "by a scorer", other_frame("scorer"), reward=scorer)
    change(
        "weights behind a method", "by a scorer's rewards", other_weights("scorer"), reward=scored
    )
    for name in SOURCES:
        change(f"an edit of {name}", f"by {name}", reward=Edited(name, -1))
    change("a number that a function reads", "by a function", reward=of_another_limit)
    for name, value in (("temperature", 0.7), ("epsilon", 0.05), ("num_generations", 3)):
        other = replace(config, **{name: value})
        change(name, "by a function", says=name, config=other)
    change("lr", "by a function", says="lr", config=replace(config, train=replace(train, lr=2e-3)))
    change("seed", "by a function", says="seed", seed=5)
    change(
        "a prompt",
        "by a function",
        lambda files: write_rows(files, [*rows(1, asked="Well"), *rows()[1:]]),
        "other rows",
    )
    change("weights", "by a function", other_weights("policy"), "weights")
    change(
        "stop tokens",
        "by a function",
        json_edit("policy/tokenizer_config.json", pad_token="<eos>"),
        "tokenizer",
    )
    return begun, changes


def of_another_limit(groups: Sequence[rd.Group]) -> list[list[float]]:
    return [[len(text) - 2 * LIMIT for text in group.responses] for group in groups]


of_another_limit.__name__ = lengths.__name__
of_another_limit.__qualname__ = lengths.__qualname__


def of_scoring(world: World) -> tuple[dict[str, Begun], list[Change]]:
    """Return scoring that was stopped behind its second window, and changes."""
    windows.WINDOW = 4

    def work(output: Path, temperature: float | None = None, weigh: bool = False) -> None:
        output.mkdir(parents=True, exist_ok=True)
        scorer = rd.load_scorer(world.files / "scorer")
        scorer.temperature = temperature
        if weigh:
            rd.weigh_dataset(scorer, world.files / "pairs.jsonl", output / "out.jsonl")
        else:
            rd.score(scorer, world.files / "pairs.jsonl", output / "out.jsonl")

    weighing = partial(work, weigh=True)
    begun = {
        "scoring": Begun(work, 3, parts.Parts, "write"),
        "weighing": Begun(weighing, 3, parts.Parts, "write"),
    }
    changes = []
    for name, again in (("scoring", work), ("weighing", weighing)):
        for what, edit in (
            ("weights", other_weights("scorer")),
            ("tokenizer", other_frame("scorer")),
            ("a row", lambda files: write_rows(files, [*rows(1, "?"), *rows()[1:]])),
        ):
            changes.append(
                Change(f"Python, {name}: {what}", name, again, edit, "made with another")
            )
        hot = partial(again, temperature=3.0)
        changes.append(Change(f"Python, {name}: temperature", name, hot, says="made with another"))
    return begun, changes


def every(world: World) -> tuple[dict[str, Begun], list[Change]]:
    """Return all commands, and all changes of them."""
    begun: dict[str, Begun] = {}
    changes: list[Change] = []
    for part in (of_scorers, of_policies, of_online, of_scoring, of_recipes):
        more_begun, more = part(world)
        begun |= more_begun
        changes += more
    return begun, changes


def main() -> None:
    made_fast()
    tally = Tally(GOOD)
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        write_rows(world.files, rows())
        begun, changes = every(world)
        changes = [
            change for change in changes if change.name.startswith(tuple(sys.argv[2:3]) or "")
        ]
        if len(sys.argv) > 1:
            chosen = np.linspace(0, len(changes) - 1, int(sys.argv[1]), dtype=int)
            changes = [changes[place] for place in dict.fromkeys(chosen.tolist())]
        for change in changes:
            try:
                verdict = world.verdict(change, begun[change.begun])
            except (Exception, Stopped) as error:
                verdict = f"{type(error).__name__}: {error}"
            tally.add(change.name, verdict, part=change.name.partition(",")[0])
    tally.end()


if __name__ == "__main__":
    main()
