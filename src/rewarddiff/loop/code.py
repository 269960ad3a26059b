"""What code does, as bytes to be hashed: that of a user's own functions and modules, with all that it imports.

Of what comes from a library or from here only the name counts: versions tell of their code.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


def of_code(code: CodeType, package: str, read: set[str]) -> Iterator[bytes]:
    """Yield what code does, and the code of the modules that it imports.

    Args:
        package: that it stands in, as imports see it.
        read: names of modules whose code was read; it grows.
    """
    yield code.co_code + code.co_exceptiontable
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags)).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from of_code(constant, package, read)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode()
    for name in _imports(code, package):
        yield from of_module(name, read)


def of_module(name: str, read: set[str]) -> Iterator[bytes]:
    """Yield a module's name, and of a user's own, unless it was `read`, what it does when it is imported."""
    yield name.encode()
    if name in read or not is_users_own(name):
        return
    read.add(name)
    file = _file(name)
    if file is None or not file.is_file():
        return
    if file.suffix != ".py":
        yield file.read_bytes()
        return
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    yield from of_code(compile(file.read_bytes(), name, "exec"), package, read)


def _imports(code: CodeType, package: str) -> Iterator[str]:
    """Yield the names of the modules that code imports."""
    if dis.opmap["IMPORT_NAME"] not in code.co_code[::2]:  # reading what stands there takes long
        return
    instructions = list(dis.get_instructions(code))
    for i, instruction in enumerate(instructions):
        if instruction.opname != "IMPORT_NAME":
            continue
        level, parts = (before.argval for before in instructions[i - 2 : i])
        try:
            name = resolve_name("." * level + instruction.argval, package)
        except ImportError:
            continue
        yield name
        if is_users_own(name):
            yield from (f"{name}.{part}" for part in parts or () if _file(f"{name}.{part}"))


def referred_to(names: set[str], known: Mapping[str, Any]) -> Iterator[Any]:
    """Yield names, and what each stands for: among globals, and in a user's own modules that they stand for."""
    places = [known]
    for place in places:  # it grows meanwhile
        for name in sorted(names & place.keys()):
            value = place[name]
            yield name
            yield value
            is_module = isinstance(value, ModuleType) and is_users_own(value.__name__)
            if is_module and all(vars(value) is not other for other in places):
                places.append(vars(value))


def names_in(code: CodeType) -> set[str]:
    """Return the names that code, and the code inside it, refers to."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
    return names


def is_users_own(module: str | None) -> bool:
    """Tell whether code is neither from here nor a library's: no version tells of it."""
    return not _is_from_here(module) and not _is_librarys(module)


def _is_from_here(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "rewarddiff"


@cache  # asked for every item
def _is_librarys(module: str | None) -> bool:
    name = module or ""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    file = _file(name)
    return file is not None and bool({"site-packages", "dist-packages"} & set(file.parts))


def _file(module: str) -> Path | None:
    """Return the file of a module that is imported, or would be; None where there is none."""
    if module in sys.modules:
        name = getattr(sys.modules[module], "__file__", None)
        return Path(name) if name else None
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None
