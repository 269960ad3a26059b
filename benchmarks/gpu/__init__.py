"""One command that measures this project on a GPU, in ten minutes at most.

python -m benchmarks.gpu --help

shapes   the models: sizes of real ones, written out, with drawn weights
work     the rows, the items made of them, and what they cost
figures  what a part measures, and how
parts    the parts in the order in which they run
ours     parts of this project   (one process for neighbouring parts of one side)
peers    parts of TRL and flash-pref
kernels  parts of single operations: matrix products, attention, log-probabilities
child    the process that runs parts and writes a line about each
"""
