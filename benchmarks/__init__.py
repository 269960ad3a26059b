"""This project and its peers side by side: same rows, same model, same machine.

python -m benchmarks --help

rows      preference pairs with the length statistics of Anthropic's HH data
groups    six responses to a prompt, of the paper's mean lengths
contest   what a contestant is given and returns, and how two of them are compared
peer_trl  DPO by TRL            (one process a run)
ours      DPO by this project   (one process a run)
lists     the contests on groups of responses
scoring   differences and rewards, in trees and as padded rows   (one process a run)
rrhf      RRHF in trees and the plain way                        (one process a run)
online    updates of online training, and where the time of a turn goes
rollouts  of HH's lengths, for updates
updates   an update in trees and as padded rows
gpu       this project on a GPU: a command of its own
machine   memory of a process, matmul rate and description of the machine
"""
