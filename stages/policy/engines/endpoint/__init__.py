"""An OpenAI-compatible server as an engine that only speaks."""
