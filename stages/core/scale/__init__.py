"""What a run asks of a machine, before it is asked: shapes and recipes enter; bytes, seconds, money leave. No torch."""
