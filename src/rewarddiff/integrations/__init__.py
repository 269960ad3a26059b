"""Strengths in the trainers that people run. What each module needs is imported by it alone.

trl             DPO and reward training weighed by a `coefficient` column; rewards for GRPO and RLOO
verl            `compute_score`, and a reward manager
llamafactory    ranking files, in which pairs stand in proportion to their coefficients
"""
