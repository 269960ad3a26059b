"""YAML in and out.

Numbers and booleans are read as YAML 1.2 has them: `1e-6` is a number, `no` and `on` are words.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from rewarddiff.config.plain import DEEPEST, TOO_DEEP, require_small
from rewarddiff.config.schema import to_dict
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.writing import cut

MERGE = "tag:yaml.org,2002:merge"

LARGEST = 1 << 18
"""Bytes of the largest recipe that is read."""

MOST_MERGED = 10
"""Mappings that are merged into one."""

MOST_KEYS = 10_000
"""Keys of the largest mapping, merged ones among them."""

NOT_YAML = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)
"""What the loader raises where a text is no YAML, or a tag calls it something that it is not."""

_FLOAT = (
    r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))"
    r"|\.(nan|NaN|NAN)"
)
_PLAIN = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("merge", r"<<", ["<"]),
)
"""What a text without quotes may be besides a string: kind, pattern, first characters."""


class _Loader(yaml.SafeLoader):
    """YAML with the words and numbers of its version 1.2, and no key twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        _check_keys(node)
        return node

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        if self.flow_level > DEEPEST:
            raise yaml.scanner.ScannerError(None, None, TOO_DEEP, self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a mapping of more than {MOST_KEYS:,} keys", node.start_mark
            )


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse keys that stand twice, or are no words, and merging without end."""
    seen = set()
    merged = 0
    for key, value in node.value:
        problem = ""
        if key.tag == MERGE:
            merged += len(value.value) if isinstance(value, yaml.SequenceNode) else 1
        if not isinstance(key, yaml.ScalarNode):
            problem = f"a key is a {key.id}, and no word"
        elif key.value in seen and key.tag != MERGE:
            problem = f"key '{cut(key.value)}' stands twice"
        elif merged > MOST_MERGED:
            problem = f"more than {MOST_MERGED} mappings merged into one"
        if problem:
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        seen.add(key.value)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that `_Loader` would read as something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), _first
    )
_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """Return the content of a recipe's file, not checked yet.

    Raises:
        UserError: it cannot be read, or is no mapping in YAML.
    """
    path = user_path(recipe)
    try:
        text = _content(path).decode("utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the recipe ({error.strerror}); check the path, or let "
            "`rewarddiff init DATA` write a recipe"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not a text file (byte {error.start} is not UTF-8); a recipe is YAML"
        ) from error
    content = parse(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UserError(f"{path}: a recipe is a mapping of keys to values, found a {kind}")
    return content


def _content(path: Path) -> bytes:
    """Return the bytes of a recipe's file. Raises UserError, OSError."""
    if "\0" in str(path):
        raise UserError(f"{path}: no path; a path has no zero byte")
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(
            f"{path}: a pipe or a device, and no file; write the recipe to a file and give that"
        )
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UserError(f"{path}: more than {LARGEST >> 10} KiB; a recipe is YAML of a page or two")
    return content


def parse(text: str, source: str) -> Any:
    """Return what a text says in YAML; errors name the source, and the line where there are several."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise UserError(f"{source}: not valid YAML: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        line = ""
        if error.problem_mark and "\n" in text:
            line = f":{error.problem_mark.line + 1}"
        cause = cut(error.problem or error.context or "")
        raise UserError(f"{source}{line}: not valid YAML: {cause}") from error
    except NOT_YAML as error:
        raise UserError(f"{source}: not valid YAML: {cut(' '.join(str(error).split()))}") from error
    # Ten lines of aliases of aliases can stand for more than any memory holds.
    require_small(content, source)
    return content


def dump_yaml(config: object) -> str:
    """Return a configuration as YAML, in the order of its fields; `load_recipe` reads it back."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, width=120)
