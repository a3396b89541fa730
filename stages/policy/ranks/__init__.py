"""Several processes that train one model together: what a rank knows of the others, and how it begins."""
