"""`r1 rewards audit`: the known ways to be paid for nothing, and whether a reward falls for them."""
