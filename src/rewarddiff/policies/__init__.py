"""Policies: objectives on preferences, and what trains a language model with them."""
