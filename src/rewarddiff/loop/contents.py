"""A hash of all that a value holds: of settings, items, tensors, models, functions, objects of any class.

A text form will not do: that of a long array leaves out its middle, that of a tensor all but four digits, and
that of a function tells where it lies in memory.
"""

from __future__ import annotations

import contextvars
import io
import json
import re
import socket
import ssl
import sys
import threading
import weakref
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from concurrent.futures import Executor
from copyreg import dispatch_table
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property, partial
from types import (
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    NoneType,
)
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor, nn

from rewarddiff import hashing
from rewarddiff.loop.code import is_users_own, names_in, of_code, of_module, referred_to
from rewarddiff.store import Store

PLAIN = frozenset({NoneType, bool, int, float, complex, str, bytes, type(...)})
"""Types whose text form says all."""

HANDLES = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.local,
    contextvars.ContextVar,
    Executor,
    socket.socket,
    ssl.SSLContext,
    weakref.ReferenceType,
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
    Store,
)
"""What leads to other things, or guards or keeps them, and decides no result by itself."""

OF_EVERY_LAYER = frozenset(vars(nn.Module()))
"""Attributes that torch gives to every layer: its text form and its weights tell of them."""

ADDRESS = re.compile(r" at 0x[0-9a-f]+")

UNTOLD = "cannot tell of"
"""What a hash begins with where a value does not say what it holds."""


def contents(*values: object) -> str:
    """Return a hash of what values hold; values that say the same have the same.

    Of a function that counts its code, with what it refers to and imports; of an object its class and attributes, or
    what it gives to be pickled. Of what comes from a library or from here only the name counts: versions tell of
    their code.

    Of an object that tells in no way what it holds, as a connection to a database, no two hashes are the same; they
    name it, see `untold`.
    """
    seen = _Seen()
    try:
        hashed = hashing.digest(_of_all(values, seen))
    except RecursionError:
        hashed = ""
        seen.untold.add("something that is nested too deep")
    if not seen.untold:
        return hashed
    return f"{UNTOLD} {' and '.join(sorted(seen.untold))} {uuid4().hex}"


def untold(hashes: object) -> str:
    """Return what hashes in a value of JSON could not tell of, "" where they tell of all."""
    found = re.findall(rf'"{UNTOLD} (.*?) [0-9a-f]{{32}}"', json.dumps(hashes))
    return " and ".join(sorted(set(found)))


@dataclass
class _Seen:
    """What was come by.

    Attributes:
        count: how many values have a number.
        places: a number and the value, by its place in memory; held, so that no other takes this place.
        modules: names of modules whose code was read.
        untold: classes of what does not say what it holds.
    """

    count: int = 0
    places: MutableMapping[int, tuple[int, object]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)

    def add(self, value: object) -> None:
        self.places[id(value)] = self.count, value
        self.count += 1

    def apart(self) -> _Seen:
        """Return the same for one of several values without an order: none knows of another."""
        return _Seen(self.count, ChainMap({}, self.places), set(self.modules), self.untold)


def _of_all(values: Iterable[Any], seen: _Seen) -> Iterator[bytes]:
    for value in values:
        yield from _of(value, seen)


def _of(value: Any, seen: _Seen) -> Iterator[bytes]:
    """Yield what a value holds, or its number where it was seen before."""
    kind = type(value)
    if kind in PLAIN:
        yield _text(f"{kind.__name__} {value!r};")
        return
    if id(value) in seen.places:
        number, _ = seen.places[id(value)]
        yield f"number {number};".encode()
        return
    if not _is_spelled(value):
        seen.add(value)
    yield f"{kind.__qualname__}(".encode()
    yield from _inside(value, seen)
    yield b")"


def _is_spelled(value: Any) -> bool:
    """Tell whether a value is said anew each time: one that is there twice is then like two that are equal."""
    if isinstance(value, Tensor | np.ndarray):
        return True
    return type(value) in (list, tuple) and _are_plain(value)


def _inside(value: Any, seen: _Seen) -> Iterator[bytes]:
    kind = type(value)
    if isinstance(value, Tensor):
        yield from _of_tensor(value)
    elif isinstance(value, np.ndarray):
        yield from _of_array(value, seen)
    elif isinstance(value, nn.Module):
        yield from _of_layers(value, seen)
    elif kind in (dict, MappingProxyType):
        yield from _of_mapping(value, seen)
    elif kind in (list, tuple):
        yield from _of_sequence(value, seen)
    elif kind in (set, frozenset):
        yield from sorted(_apart(one, seen) for one in value)
    elif kind is FunctionType:
        yield from _of_function(value, seen)
    elif kind is MethodType:
        yield from _of_all((value.__func__, value.__self__), seen)
    elif kind is partial:
        yield from _of_all((value.func, value.args, value.keywords), seen)
    elif kind in (staticmethod, classmethod):
        yield from _of(value.__func__, seen)
    elif kind is property:
        yield from _of_all((value.fget, value.fset), seen)
    elif kind in (GetSetDescriptorType, MemberDescriptorType):
        yield value.__qualname__.encode()
    elif kind is cached_property:
        yield from _of(value.func, seen)
    elif isinstance(value, type):
        yield from _of_class(value, seen)
    elif isinstance(value, ModuleType):
        yield from of_module(value.__name__, seen.modules)
    else:
        yield from _of_object(value, seen)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _apart(value: Any, seen: _Seen) -> bytes:
    return hashing.digest(_of(value, seen.apart())).encode()


def _are_plain(values: Iterable[Any]) -> bool:
    return all(type(value) in PLAIN for value in values)


def _of_sequence(values: list[Any] | tuple[Any, ...], seen: _Seen) -> Iterator[bytes]:
    if _are_plain(values):  # tokens, mostly: said at once
        yield _text(repr(values))
    else:
        yield from _of_all(values, seen)


def _of_mapping(values: Mapping[Any, Any], seen: _Seen) -> Iterator[bytes]:
    # The text form of a key may tell where it lies in memory.
    order = repr if _are_plain(values) else lambda key: _apart(key, seen)
    for key in sorted(values, key=order):
        yield from _of_all((key, values[key]), seen)


def _of_tensor(tensor: Tensor) -> Iterator[bytes]:
    yield f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    flat = tensor.detach().cpu().contiguous().flatten()
    yield flat.view(torch.uint8).numpy().tobytes()


def _of_array(array: np.ndarray[Any, Any], seen: _Seen) -> Iterator[bytes]:
    yield f"{array.dtype} {array.shape} ".encode()
    if array.dtype.hasobject:
        yield from _of(array.tolist(), seen)
    else:
        yield array.tobytes()


def _of_layers(module: nn.Module, seen: _Seen) -> Iterator[bytes]:
    """Yield the layers of a module, their weights, and of those of a user's own also code and attributes."""
    yield _text(ADDRESS.sub("", repr(module)))
    yield from _of(module.state_dict() | dict(module.named_buffers()), seen)
    for layer in module.modules():
        yield from _of(type(layer), seen)
        for name in sorted(vars(layer).keys() - OF_EVERY_LAYER):
            value = vars(layer)[name]
            is_setting = name == "config" or (type(value) in PLAIN and not name.startswith("_"))
            if is_setting or is_users_own(type(layer).__module__):
                yield from _of_all((name, value), seen)


# --- functions and classes ------------------------------------------------------------------------------------------


def _of_function(function: FunctionType, seen: _Seen) -> Iterator[bytes]:
    """Yield a function's name, what is bound to it, and where it is a user's own also its code and attributes."""
    yield f"{function.__module__}.{function.__qualname__}".encode()
    compiled = vars(function).get("_torchdynamo_orig_callable")  # torch.compile holds much beside
    if compiled is not None:
        yield from _of(compiled, seen)
        return
    bound = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    yield from _of_all((bound, function.__defaults__, function.__kwdefaults__), seen)
    yield from _of(vars(function), seen)
    known = function.__globals__
    if is_users_own(known.get("__name__")):  # a decorator writes its own over `__module__`
        yield from of_code(function.__code__, known.get("__package__") or "", seen.modules)
        yield from _of_all(referred_to(names_in(function.__code__), known), seen)


def _of_class(cls: type, seen: _Seen) -> Iterator[bytes]:
    """Yield a class's name, and of a user's own class what it has of functions and constants."""
    yield f"{cls.__module__}.{cls.__qualname__}".encode()
    if not is_users_own(cls.__module__):
        return
    yield from _of(cls.__bases__, seen)
    for name, value in sorted(vars(cls).items()):
        is_pythons = name.startswith("__") or name == "_abc_impl"
        if isinstance(value, FunctionType | staticmethod | classmethod) or not is_pythons:
            yield from _of_all((name, value), seen)


def _is_empty(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # of a function that refers to itself before it is there
        return True
    return False


# --- objects --------------------------------------------------------------------------------------------------------


def _of_object(value: Any, seen: _Seen) -> Iterator[bytes]:
    """Yield an object's class, and its attributes or what it gives to be pickled."""
    cls = type(value)
    yield from _of(cls, seen)
    wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
    if wrapped is not None:  # functools.cache and its like
        yield from _of(wrapped, seen)
    elif isinstance(value, HANDLES) or _is_only_written(value):
        return
    elif _is_dataset(value):
        yield from _of_dataset(value, seen)
    elif is_dataclass(value) or cls.__module__.startswith("rewarddiff."):
        yield from _of_attributes(value, seen)
    else:
        yield from _of_pickled(value, seen)


def _is_only_written(value: Any) -> bool:
    return isinstance(value, io.IOBase) and (value.closed or not value.readable())


def _of_attributes(value: Any, seen: _Seen) -> Iterator[bytes]:
    for name in _attributes(value):
        # What is worked out of the others may be there or not.
        is_worked_out = isinstance(getattr(type(value), name, None), cached_property)
        if hasattr(value, name) and not is_worked_out:
            yield from _of_all((name, getattr(value, name)), seen)


def _attributes(value: Any) -> list[str]:
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    names = set(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = getattr(base, "__slots__", ())
        names.update([slots] if isinstance(slots, str) else slots)
    return sorted(name for name in names if not name.startswith("__"))


def _of_pickled(value: Any, seen: _Seen) -> Iterator[bytes]:
    """Yield what an object gives to be pickled, unpickled by nobody; one that gives nothing is untold."""
    cls = type(value)
    is_usual = all(
        getattr(cls, name) is getattr(object, name)
        for name in ("__reduce_ex__", "__reduce__", "__getstate__")
    )
    try:
        reduce = dispatch_table.get(cls)
        parts = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception:
        if is_usual or not hasattr(value, "__dict__"):
            seen.untold.add(f"{cls.__module__}.{cls.__qualname__}")
            return
        parts = ""
        is_usual = True
    if isinstance(parts, str):
        yield parts.encode()
    else:
        make, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        yield from _of_all((make, arguments), seen)
        if not is_usual:
            yield from _of(state, seen)
        yield from _of_all((list(items or ()), dict(pairs or ())), seen)
    if is_usual:
        yield from _of_attributes(value, seen)


def _is_dataset(value: Any) -> bool:
    datasets = sys.modules.get("datasets")
    return datasets is not None and isinstance(value, datasets.Dataset)


def _of_dataset(dataset: Any, seen: _Seen) -> Iterator[bytes]:
    """Yield a dataset's columns and rows; what else it holds tells where its files lie."""
    yield repr(dataset.features).encode()
    for batch in dataset.with_format("arrow").iter(1000):
        yield from _of(batch.to_pydict(), seen.apart())
