"""The transformers engine: batches, draws, keys and values, and plain `generate` where it must."""
