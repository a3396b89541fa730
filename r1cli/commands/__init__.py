"""One file for each command. Each imports typer at most at its top: `r1 --help` loads them all and must stay quick."""
