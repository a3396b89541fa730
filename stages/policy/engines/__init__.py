"""Engines: what completes prompts. One file each, behind `stages.core.sampling.Engine`."""
