"""A hash of all that a value holds: of settings, items, tensors, models, functions, objects of any class.

A text form will not do: that of a long array leaves out its middle, that of a tensor all but four digits, and
that of a function tells where it lies in memory.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rewarddiff import hashing

PLAIN = frozenset({NoneType, bool, int, float, complex, str, bytes, type(...)})
"""Types whose text form says all."""

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def contents(*values: object) -> str:
    """Return a hash of what values hold; values that say the same have the same.

    Of a function that counts its code, with what it refers to; of an object its class and attributes.
    Of what comes from a library or from here only the name counts: versions tell of their code.
    """
    return hashing.digest(_of(values, ()))


def _of(value: Any, within: tuple[int, ...]) -> Iterator[bytes]:
    """Yield what a value holds; `within` are the values around it, by their places in memory."""
    kind = type(value)
    if kind in PLAIN:
        yield f"{kind.__name__} {value!r};".encode("utf-8", "surrogatepass")
        return
    if id(value) in within:
        yield b"around;"
        return
    yield f"{kind.__qualname__}(".encode()
    yield from _inside(value, (*within, id(value)))
    yield b")"


def _inside(value: Any, within: tuple[int, ...]) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        yield from _of_tensor(value)
    elif isinstance(value, np.ndarray):
        yield from _of_array(value, within)
    elif isinstance(value, nn.Module):
        yield repr(value).encode()
        yield from _of(dict(value.state_dict()), within)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield from _of(key, within)
            yield from _of(value[key], within)
    elif isinstance(value, list | tuple):
        yield from _of_sequence(value, within)
    elif isinstance(value, set | frozenset):
        yield from sorted(hashing.digest(_of(one, within)).encode() for one in value)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, within)
    elif isinstance(value, MethodType):
        yield from _of((value.__func__, value.__self__), within)
    elif isinstance(value, partial):
        yield from _of((value.func, value.args, value.keywords), within)
    elif isinstance(value, CodeType):
        yield from _of((value.co_code, value.co_names, value.co_consts), within)
    elif isinstance(value, type):
        yield from _of_class(value, within)
    elif isinstance(value, ModuleType):
        yield value.__name__.encode()
    else:
        yield from _of_object(value, within)


def _of_sequence(values: list[Any] | tuple[Any, ...], within: tuple[int, ...]) -> Iterator[bytes]:
    if all(type(value) in PLAIN for value in values):  # tokens, mostly: said at once
        yield repr(values).encode("utf-8", "surrogatepass")
        return
    for value in values:
        yield from _of(value, within)


def _of_tensor(tensor: Tensor) -> Iterator[bytes]:
    yield f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    flat = tensor.detach().cpu().contiguous().flatten()
    yield flat.view(torch.uint8).numpy().tobytes()


def _of_array(array: np.ndarray[Any, Any], within: tuple[int, ...]) -> Iterator[bytes]:
    yield f"{array.dtype} {array.shape} ".encode()
    if array.dtype.hasobject:
        yield from _of(array.tolist(), within)
    else:
        yield array.tobytes()


def _of_function(function: FunctionType, within: tuple[int, ...]) -> Iterator[bytes]:
    """Yield a function's name, what is bound to it, and where it is a user's own also its code."""
    yield f"{function.__module__}.{function.__qualname__}".encode()
    bound = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    yield from _of((bound, function.__defaults__, function.__kwdefaults__), within)
    if _is_users_own(function.__module__):
        yield from _of(function.__code__, within)
        for name in sorted(_names(function.__code__) & function.__globals__.keys()):
            yield from _of((name, function.__globals__[name]), within)


def _of_class(cls: type, within: tuple[int, ...]) -> Iterator[bytes]:
    """Yield a class's name, and of a user's own class what it has of functions and plain values."""
    yield f"{cls.__module__}.{cls.__qualname__}".encode()
    if not _is_users_own(cls.__module__):
        return
    yield from _of(cls.__bases__, within)
    for name, value in sorted(vars(cls).items()):
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        is_constant = type(value) in PLAIN and not name.startswith("__")
        if is_constant or isinstance(function, FunctionType):
            yield from _of((name, function), within)


def _of_object(value: Any, within: tuple[int, ...]) -> Iterator[bytes]:
    """Yield an object's class and attributes; of a library's class its text form, less its address."""
    cls = type(value)
    yield from _of(cls, within)
    if _is_librarys(cls.__module__):
        yield ADDRESS.sub("", repr(value)).encode("utf-8", "surrogatepass")
        return
    for name in _attributes(value):
        # What is worked out of the others may be there or not.
        if hasattr(value, name) and not isinstance(getattr(cls, name, None), cached_property):
            yield from _of((name, getattr(value, name)), within)


def _attributes(value: Any) -> list[str]:
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    names = set(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = getattr(base, "__slots__", ())
        names.update([slots] if isinstance(slots, str) else slots)
    return sorted(name for name in names if not name.startswith("__"))


def _names(code: CodeType) -> set[str]:
    """Return the names that code, and the code inside it, refers to."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _is_empty(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # of a function that refers to itself before it is there
        return True
    return False


def _is_users_own(module: str | None) -> bool:
    """Tell whether code is neither from here nor a library's: no version tells of it."""
    return not _is_from_here(module) and not _is_librarys(module)


def _is_from_here(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "rewarddiff"


def _is_librarys(module: str | None) -> bool:
    name = module or ""
    if _is_from_here(name):
        return False
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))
