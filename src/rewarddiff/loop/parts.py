"""Tensors in safetensors files, by rows: each process writes those it holds, and any number read them.

`NAME.safetensors` has whole tensors. Of processes among which they are divided each writes `NAME-RANK.safetensors`,
whose metadata say at which row each tensor of it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rewarddiff.loop.sharding import has_parts, own_rows
from rewarddiff.room import room_for

SUFFIX = ".safetensors"


def write(folder: Path, name: str, tensors: Mapping[str, Tensor], rank: int | None = None) -> None:
    """Write the rows that this process holds of each tensor; `rank` where they are divided."""
    rows = {}
    starts = {}
    places = set()
    for key, tensor in tensors.items():
        if rank and not has_parts(tensor):
            continue  # all have it, and the first writes it
        own, start = own_rows(tensor.detach())
        if own.numel() or rank is None:
            own = own.contiguous()
            if own.data_ptr() in places:
                own = own.clone()  # a file holds no tensor under two names
            places.add(own.data_ptr())
            rows[key] = own
            starts[key] = str(start)
    with room_for(folder, sum(own.nbytes for own in rows.values())):
        if rank is None:
            save_file(rows, folder / f"{name}{SUFFIX}")
        else:
            save_file(rows, folder / f"{name}-{rank:05d}{SUFFIX}", metadata=starts or None)


class Parts:
    """What processes have written under a name, to be read by the row. Usable as a context manager.

    Raises:
        OSError, SafetensorError: a file cannot be read.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._files: dict[str, list[Any]] = {}  # that have rows of a tensor, by its name
        self._open = ExitStack()
        whole = folder / f"{name}{SUFFIX}"
        places = [whole] if whole.exists() else sorted(folder.glob(f"{name}-*{SUFFIX}"))
        if not places:
            raise FileNotFoundError(f"{whole} is missing")
        for place in places:
            file = self._open.enter_context(safe_open(place, "pt"))
            for key in file.keys():  # noqa: SIM118, it is no dictionary
                self._files.setdefault(key, []).append(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def keys(self) -> set[str]:
        """Return the names of all tensors."""
        return set(self._files)

    def shape(self, key: str) -> torch.Size:
        """Return the shape of a tensor, of one that is divided with the rows of all parts."""
        shapes = [file.get_slice(key).get_shape() for file in self._files[key]]
        if not shapes[0]:
            return torch.Size([])
        rows = sum(shape[0] for shape in shapes)
        return torch.Size([rows, *shapes[0][1:]])

    def dtype(self, key: str) -> torch.dtype:
        """Return the type of a tensor's numbers."""
        dtype: torch.dtype = self._files[key][0].get_slice(key)[:0].dtype
        return dtype

    def tensor(self, key: str) -> Tensor:
        """Return a tensor that is in one file whole."""
        tensor: Tensor = self._files[key][0].get_tensor(key)
        return tensor

    def fill(self, key: str, target: Tensor) -> None:
        """Write the rows that this process holds of `target` into it, from whichever files have them."""
        own, first = own_rows(target.detach())
        if not own.numel():
            return
        if not own.dim():
            own.copy_(self.tensor(key))
            return
        last = first + len(own)
        found = 0
        for file in self._files[key]:
            rows = file.get_slice(key)
            begin = int((file.metadata() or {}).get(key, 0))
            start, stop = max(first, begin), min(last, begin + rows.get_shape()[0])
            if start < stop:
                own[start - first : stop - first].copy_(rows[start - begin : stop - begin])
                found += stop - start
        if found != len(own):
            raise KeyError(f"{key}: {found} of {len(own)} rows")
