"""A reward model behind HTTP: served by vLLM, by SGLang, or by `rewarddiff serve`.

options     what a recipe may say of one; imports nothing heavy
connection  a server, and finding out what it serves
apis        how each server is asked, and where its numbers stand in the answer
texts       what of a sample is sent
scorer      a reward model that a server reads; comparer: a difference model
"""
