"""Rewards in a user's files: the same in another process, another thing once a number in any of them is edited."""

from __future__ import annotations

import importlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from torch import nn

from rewarddiff.errors import UserError
from rewarddiff.loop import checkpoint
from rewarddiff.loop.contents import contents, untold

FILES = {
    "users_helpers.py": "def score(text): return NUMBER * len(text)",
    "users_pack/__init__.py": "",
    "users_pack/far.py": "def value(): return NUMBER",
    "users_pack/near.py": """
def value():
    from . import far
    return far.value()
""",
    "users_rewards.py": """
import collections, enum, functools, logging, random, re, threading
import datasets, numpy as np, pandas as pd, torch
from torch import nn
import users_helpers, users_pack.near

def a_function_of_a_module(text): return users_helpers.score(text)
def a_function_got_by_name(text): return getattr(users_helpers, "sco" + "re")(text)
def an_import_inside_a_module(text): return users_pack.near.value()
def an_import_inside(text):
    import users_helpers as helpers
    return helpers.score(text)

@functools.cache
def a_cached_function(text): return NUMBER

class Method:
    @functools.lru_cache(None)
    def score(self): return NUMBER
    def __call__(self, text): return self.score()
a_cached_method = Method()

class Tables:
    PAIR = (float(NUMBER), 2.0)
    BY_FUNCTION = {a_cached_function: 1, len: 2}
    def __call__(self, text): return self.PAIR[0]
a_tuple_of_a_class = Tables()

class Table:
    AT = {"a": NUMBER, "b": [1]}
    def __call__(self, text): return self.AT["a"]
a_table_of_a_class = Table()

class Net(nn.Module):
    def forward(self, x): return NUMBER * x
a_forward = nn.Sequential(nn.Linear(1, 1, bias=False).requires_grad_(False), Net())
nn.init.ones_(a_forward[0].weight)

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = NUMBER
a_number_of_a_layer = Scaled()

ROWS = datasets.Dataset.from_dict({"a": ["x"] * 1500 + [str(NUMBER)] + ["x"] * 1500})
def a_row_of_a_dataset(text): return ROWS[1500]
FRAME = pd.DataFrame({"a": [0] * 500 + [NUMBER] + [0] * 500, "text": "x"})
def a_cell_of_a_frame(text): return FRAME.a[500]
RANDOM = random.Random(NUMBER)
def a_seed(text): return RANDOM.random()
DRAWN = np.random.default_rng(NUMBER)
def a_seed_of_numpy(text): return DRAWN.random()
GENERATOR = torch.Generator().manual_seed(NUMBER)
def a_seed_of_torch(text): return torch.rand(1, generator=GENERATOR)
def an_attribute(text): return an_attribute.scale
an_attribute.scale = NUMBER

class Lazy:
    @functools.cached_property
    def weight(self): return NUMBER
a_cached_property = Lazy()

PATTERN = re.compile("a" * 300 + str(NUMBER))
def a_long_pattern(text): return PATTERN.match(text)

class Grade(enum.Enum):
    GOOD = NUMBER
    BAD = 7
def a_member(text): return Grade.GOOD.value

class Name(str): pass
a_kind_of_text = functools.partial(len, Name("NUMBER"))
a_default = collections.defaultdict(lambda: NUMBER)

def decorator(function):
    @functools.wraps(function)
    def inner(*arguments): return function(*arguments)
    return inner
@decorator
def a_decorated_function(text): return NUMBER
@functools.singledispatch
def a_function_by_type(text): return 1
@a_function_by_type.register
def _(text: str): return NUMBER
members_of_a_set = {a_cached_function, Grade.BAD, NUMBER, None, an_attribute}

class Guarded:
    def __init__(self):
        self.lock, self.event, self.log = threading.RLock(), threading.Event(), logging.getLogger("x")
        self.itself, self.number = [self], NUMBER
what_has_a_lock = Guarded()
""",
}
"""Each holds a number that decides what it says."""

NAMES = re.findall(
    r"^(?:def )?((?:an?|what|members)_\w+)(?: =|\()", FILES["users_rewards.py"], re.MULTILINE
)

SCRIPT = """
import json, sys
import users_rewards
from rewarddiff.loop.contents import contents
print(json.dumps({name: contents(getattr(users_rewards, name)) for name in sys.argv[1:]}))
"""


def written(folder: Path, number: int) -> Path:
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("NUMBER", str(number)))
    return folder


def hashed(folder: Path) -> dict[str, str]:
    """Return the hashes of all rewards in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        try:
            rewards = importlib.import_module("users_rewards")
            return {name: contents(getattr(rewards, name)) for name in NAMES}
        finally:
            for name in [name for name in sys.modules if name.startswith("users_")]:
                del sys.modules[name]


def hashed_elsewhere(folder: Path) -> dict[str, str]:
    """Return the same of another process, in which sets have another order."""
    environment = os.environ | {
        "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{folder}",
        "PYTHONHASHSEED": "7",
    }
    command = [sys.executable, "-c", SCRIPT, *NAMES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    hashes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return hashes


@pytest.fixture(scope="module")
def hashes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], ...]:
    """Return hashes of rewards: here, in another process, and after an edit."""
    folder = written(tmp_path_factory.mktemp("rewards"), 1)
    before, elsewhere = hashed(folder), hashed_elsewhere(folder)
    return before, elsewhere, hashed(written(tmp_path_factory.mktemp("edited"), 2))


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_is_seen_and_another_process_is_none(
    name: str, hashes: tuple[dict[str, str], ...]
) -> None:
    before, elsewhere, edited = hashes
    assert not untold(before)
    assert elsewhere[name] == before[name]
    assert edited[name] != before[name]


class Database:
    def __init__(self, number: int) -> None:
        self.number = number
        self.connection = sqlite3.connect(":memory:")


class Telling(Database):
    def __getstate__(self) -> object:
        return self.number


def test_what_does_not_say_what_it_holds_is_refused_by_name(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    optimizer = checkpoint.Optimizer(module.parameters(), {})
    identity = {"lr": 0.1, "rewards": contents(Database(1))}
    checkpoint.save(tmp_path / "checkpoint", module, optimizer, {"identity": identity, "step": 1})
    now = {"lr": 0.1, "rewards": contents(Database(1))}
    with pytest.raises(
        UserError, match=r"cannot tell whether sqlite3\.Connection holds"
    ) as refused:
        checkpoint.load(tmp_path / "checkpoint", module, optimizer, now)
    assert "\n" not in str(refused.value)


def test_an_object_may_say_what_decides() -> None:
    assert contents(Telling(1)) == contents(Telling(1)) != contents(Telling(2))
    assert not untold(contents(Telling(1)))


def test_what_only_guards_or_logs_says_nothing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        assert contents([threading.Lock(), log]) == contents([threading.Lock(), log])


def test_what_is_held_many_times_or_deep_comes_to_an_end() -> None:
    thick: list[object] = []
    for _ in range(100):
        thick = [thick, thick, object]
    assert contents(thick) == contents(thick)
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep, object]
    assert "nested too deep" in untold(contents(deep))
