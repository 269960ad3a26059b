"""Scorers: whoever states by how much one response is better than another.

`protocol.Scorer` is what they have in common. `neural` are those that are trained, a reward model
r(x, y) of one response and a difference model d(x, y1, y2) of two; `grades` are the data's own.
"""
