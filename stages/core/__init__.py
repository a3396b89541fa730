"""The foundation: recipes, artifacts, the store, plans and the runner. No torch, no typer, no rich below this door."""
