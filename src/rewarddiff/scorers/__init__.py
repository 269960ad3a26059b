"""Scorers: a reward model r(x, y) scores one response, a difference model d(x, y1, y2) compares
two.

Both are a Hugging Face body read at certain tokens by one linear head; `base.Scorer` is what they
share.
"""
