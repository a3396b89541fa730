"""Rows on their way to training data: read, decontaminated, paired, labelled, rewritten, mixed and counted."""
