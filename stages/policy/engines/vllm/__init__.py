"""vLLM as an engine, inside this process or behind `vllm serve`."""
