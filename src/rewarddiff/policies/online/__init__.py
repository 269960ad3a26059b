"""Policies that learn from their own samples: from prompts to rollouts to a loss.

config         every option
rollouts       responses drawn in groups that share the prompt, and read as trees
samples        those of a turn, drawn, read and scored by processes that share them
group_rewards  functions that score groups → one reward for each response
baselines      stored responses that the trainer draws itself
advantages     rewards → advantages, as pure functions
estimators     which of them, with which options; when a baseline per prompt acts
kl             the coefficient of the KL to the reference, fixed or adaptive
turn           all rollouts of a turn: λ, penalties, advantages
actor          the policy in training and its value head
objective      what the loop trains
frozen         the reference
metrics        what the log shows, under TRL's names
train          prompts and a reward → a trained policy

Or, for who stays offline otherwise, to pairs that an offline objective is trained on:

semi_config    every option
pairing        what a scorer says of a group → pairs of chosen and rejected
semi_turn      all groups of a turn → pairs with coefficients
semi           what the loop trains
semi_metrics   what the log shows

The losses are those of `losses.online` and of `policies.objectives`, the rewards those of
`rewarddiff.rewards`. No scorer is imported: what scores is handed in.
"""
