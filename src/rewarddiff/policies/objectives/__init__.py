"""Policy objectives: small frozen configs, each with its own loss; a recipe names one of them."""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Any

from rewarddiff.policies.names import OBJECTIVES
from rewarddiff.policies.objective import PolicyObjective

BY_NAME: dict[str, type[Any]] = {}
for _name, _entry in OBJECTIVES.items():
    BY_NAME[_name] = getattr(import_module(f"{__name__}.{_entry.module}"), _entry.config)

if TYPE_CHECKING:
    AnyObjective = PolicyObjective
else:
    AnyObjective = reduce(or_, BY_NAME.values())
    """Any of the configs, as the reader of recipes wants it."""
