"""What every trainer shares: examples, steps, settings, checkpoints and costs."""
