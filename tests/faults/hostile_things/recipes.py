"""Recipes and overrides: YAML that makes objects, grows without end, or names what is not data."""

from __future__ import annotations

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
MERGES = "m0: &m0 {x: 1}\n" + "".join(
    f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 10)}]\n" for i in range(1, 12)
)

RECIPES: dict[str, str] = {
    "python_apply": "name: !!python/object/apply:os.system ['touch EVIL']\n",
    "python_new": "name: !!python/object/new:os.system ['touch EVIL']\n",
    "python_name": "name: !!python/name:os.system\n",
    "python_module": "name: !!python/module:os\n",
    "python_object": "name: !!python/object:os.system {}\n",
    "python_tuple": "name: !!python/tuple [1, 2]\n",
    "python_tag_by_its_address": "name: !<tag:yaml.org,2002:python/object/apply:os.system> ['touch EVIL']\n",
    "python_in_a_key": "? !!python/object/apply:os.system ['touch EVIL']\n: 1\n",
    "own_tag": "%TAG ! tag:yaml.org,2002:python/\n---\nname: !object/apply:os.system ['touch EVIL']\n",
    "aliases_of_aliases": BOMB,
    "merges_of_merges": MERGES,
    "alias_of_itself": "name: &a\n  b: *a\n",
    "key_that_is_a_list": "? [a, b]\n: 1\n",
    "key_that_is_a_mapping": "? {a: b}\n: 1\n",
    "nested_deeply": "name: " + "[" * 20_000 + "]" * 20_000 + "\n",
    "huge_number": "name: x\nseed: " + "9" * 100_000 + "\n",
    "binary": "name: !!binary aGVsbG8=\n",
    "timestamp": "name: !!timestamp 2001-01-01\n",
    "set": "name: !!set {a, b}\n",
    "two_documents": "name: x\n---\nname: y\n",
    "control_characters": 'name: "\\e[2J\\x9b31m\\u202e"\n',
    "jinja": 'name: "{{ cycler.__init__.__globals__ }}"\n',
    "environment": "name: ${HOME}\ndata: {path: '$(touch EVIL)'}\n",
    "scorer_by_its_path": "name: x\nscorers: {a: {kind: os.system}}\n",
    "scorer_by_its_module": "name: x\nscorers: {a: {kind: 'evil:Scorer'}}\n",
    "objective_by_its_path": "name: x\nmodel: m\npolicies: {p: {objective: evil.Objective}}\n",
    "tracker_by_its_path": "name: x\nmodel: m\npolicies: {p: {objective: dpo, train: {track: evil.Tracker}}}\n",
    "data_that_never_ends": "name: x\ndata: {path: /dev/zero}\nscorers: {a: {kind: length}}\n",
    "data_of_a_pipe_command": "name: x\ndata: {path: '| touch EVIL'}\nscorers: {a: {kind: length}}\n",
    "prompt_file_that_never_ends": "name: x\nscorers: {a: {kind: judge, local: m, prompt: /dev/zero}}\n",
}

OVERRIDES = (
    "name=!!python/object/apply:os.system ['touch EVIL']",
    "name=__import__('os').system('touch EVIL')",
    "__class__.__init__.__globals__=1",
    "scorers.__class__=1",
    "data.path=!!python/name:os.system",
    "scorers.*.*.*.*=1",
    "scorers={a: &a {b: *a}}",
    "seed=" + "[" * 5000 + "]" * 5000,
    "seed=9" + "9" * 10_000,
    "a" + ".a" * 5000 + "=1",
)
