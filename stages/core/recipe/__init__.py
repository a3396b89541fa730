"""Recipes: from YAML and `key=value` to typed settings, and the parts, seeds and ranges they are made of."""
