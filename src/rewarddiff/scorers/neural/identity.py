"""What determines the answers of a saved scorer, wherever and however it was trained."""

from __future__ import annotations

import json
from pathlib import Path

from rewarddiff import model_files, models
from rewarddiff.model_files import ABOUT, PROMPTS
from rewarddiff.store import fingerprint

READ_BY = ("kind", "lengths", "pooling", "head", "aspects", "heads")
"""Keys of a scorer's configuration that its answers depend on; its weights hold what was learned."""


def answers_fingerprint(source: str | Path) -> str:
    """Return a hash of what determines rewards and differences: equal ones answer alike.

    The temperature and the prompts trained on change neither; nor does where training began.

    Raises:
        UserError: as `models.resolve`.
    """
    folder = models.resolve(source)
    about = folder / ABOUT
    if not about.is_file():
        return models.fingerprint(source)
    saved = json.loads(about.read_text())
    config = {key: saved["config"].get(key) for key in READ_BY}
    weights = model_files.fingerprint(folder, without=(ABOUT, PROMPTS))
    return fingerprint("answers", weights, config, saved.get("way"))
