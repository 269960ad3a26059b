"""Scorers that are trained: a reward model r(x, y), a difference model d(x, y1, y2).

Both are a Hugging Face body read at certain tokens by one linear head.
"""
