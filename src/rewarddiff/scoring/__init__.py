"""Scoring and weighing data of any size: read row by row, written in windows, gone on with after a kill.

windows    the rows of the data, so many at a time
answers    what a scorer says of a window
parts      windows that are done, each in a file of its own beside the output
tables     rows written as JSONL, CSV, Parquet, or a folder of `datasets`
work       windows done one after the other, by one process or by several
score      the user's rows with their scores and differences
weigh      a row for each comparison, with its coefficient
suspicious the comparisons that the scorer contradicts most
summary    what was done, in a few lines
"""
