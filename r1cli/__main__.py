"""`python -m r1cli` is `r1`."""

from __future__ import annotations

from r1cli.main import main

if __name__ == "__main__":
    main()
