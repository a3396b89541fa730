"""Distillation: a teacher's log-probabilities on disk, and the three ways a student learns."""
