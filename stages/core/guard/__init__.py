"""What guards a run of reinforcement learning: judged completions and figures of steps enter, sentences that name a
cause and a key leave. No torch."""
