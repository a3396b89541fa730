"""The rewards: one file, one function, one table of examples each.

A completion, its row and the model's contract enter; a verdict (0 to 1, or None for "cannot judge", and the reason in
words) leaves. Pure Python, no torch: the RL stage, sampling, evaluation and a user's shell all score with the same
functions.
"""
