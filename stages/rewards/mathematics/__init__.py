"""Mathematical answers: two short texts enter `math.judge`, a verdict leaves; sympy only in workers."""
