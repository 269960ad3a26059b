"""Which stages of a recipe are there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewarddiff.pipeline.stage import Stage


class Done:
    """Looks into a run's folder, where nothing is written.

    A stage counts as done where it was made of this data, with these inputs as far as a plan knows them, and
    all that it is made from is done. A run compares more, and may make one anew that is called done here.

    Args:
        folder: of the run.
        data: fingerprint of the data, as the run's stages note it.
    """

    def __init__(self, folder: Path, data: str) -> None:
        self._folder = folder
        self._data = data
        self._lacking: set[str] = set()

    def __call__(self, stage: str, inputs: Mapping[str, Any], needs: Sequence[str]) -> bool:
        """Tell whether a stage is done.

        Args:
            inputs: what its manifest is to say. needs: the stages that it is made from.
        """
        is_done = self._lacking.isdisjoint(needs) and self._is_there(stage, inputs)
        if not is_done:
            self._lacking.add(stage)
        return is_done

    def _is_there(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        wanted = {"data": self._data, **inputs}
        for folder in self._folders(stage):
            noted = Stage.found(folder).get("inputs", {})
            if all(noted.get(name) == value for name, value in wanted.items()):
                return True
        return False

    def _folders(self, stage: str) -> Iterator[Path]:
        """Yield where a stage may lie: in a sweep its folder's name ends with a key."""
        place = self._folder / stage
        yield place
        yield from sorted(place.parent.glob(f"{place.name}-*"))
