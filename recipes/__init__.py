"""The bundled recipes: data, not programs. Installed as `r1cli.recipes`, so a wheel finds them as a checkout does."""
