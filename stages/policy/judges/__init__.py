"""Learned judges, in use and in training."""
