"""From a plan to sealed artifacts: where inputs come from, what is built when and where, what it tells."""
