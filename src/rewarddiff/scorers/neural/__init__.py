"""Scorers that are trained: a reward model r(x, y) reads one response, a difference model d(x, y1, y2) compares two.

Both are a Hugging Face body read at certain tokens by one linear head; `scorer.Scorer` is what they
share.
"""
