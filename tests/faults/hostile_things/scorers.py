"""Scorers of our own whose description names classes, places elsewhere or absurd sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny import edit

from hostile_things.making import CLASSES, Make, Stock, Things, code, edited

MODELS = Things()


def described(**changes: Any) -> Make:
    """Return what makes a scorer that is described otherwise."""
    return edited("rewarddiff_scorer.json", of="scorer", **changes)


MODELS |= {
    "scorer_of_a_kind_by_path": described(kind="os:system", config={"kind": "os.system"}),
    "scorer_with_classes": described(config={"__class__": "os.system", "head": "evil.Head"}),
    "scorer_with_a_start_elsewhere": described(
        config={"backbone": "../../evil", "warm_start": "/"}
    ),
    "scorer_of_absurd_heads": described(config={"heads": 10**12}),
    "scorer_of_a_way_by_path": described(way="os.system"),
    "scorer_learned_absurdly": described(learned={"m": [1e308] * 10, "../../x": []}),
}


@MODELS.scorer
def scorer_with_code(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    edit(folder / "config.json", model_type="evil", auto_map=CLASSES)
