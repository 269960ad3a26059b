"""Every kind of scorer that is not trained here, as a recipe knows them. Imports nothing heavy.

A line here makes a kind known to recipes: `scorers.NAME: {kind: …, its options}`.
"""

from __future__ import annotations

from rewarddiff.scorers.judging.options import Judge, Panel
from rewarddiff.scorers.length import Length
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import ScorerOptions
from rewarddiff.scorers.remote.options import Remote

KINDS: tuple[type[ScorerOptions], ...] = (Length, Remote, Judge, Panel, People)
