"""Policies that learn from their own samples: what becomes of rewards on the way to a loss.

advantages  rewards → advantages, as pure functions
estimators  which of them, with which options; when a baseline per prompt acts
kl          the coefficient of the KL to the reference, fixed or adaptive

Rewards come in as numbers (`rewarddiff.rewards`); the losses are those of `losses.online`.
"""
