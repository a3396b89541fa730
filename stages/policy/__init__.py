"""The machine room: everything that touches torch and transformers, and nothing that knows what a stage is.

Models and token ids enter; models, log-probabilities and completions leave. It stands apart so that help, plans and
recipe checks never pay for importing torch: a stage imports from here on the first line of its `run`.
"""
