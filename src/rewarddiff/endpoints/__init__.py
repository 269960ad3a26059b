"""Servers that are asked over HTTP, whatever they are asked for.

client   JSON over HTTP with all that goes wrong on the way
addresses  how servers and their models are named
answers  JSON that is whole, or a failure
"""
