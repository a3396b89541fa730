"""Figures with intervals, from counts and scores."""
