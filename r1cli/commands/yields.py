"""What a curation kept and left out, as a table: an artifact enters, rows on the screen leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r1cli.view import Screen
    from stages.core.artifact import Artifact


def show(artifact: Artifact, screen: Screen) -> bool:
    """Draw the yield of an artifact: samples, each reason with its count and share, the kept; False if it has none."""
    from stages.core.data.yields import read_yield, table

    found = read_yield(artifact.path)
    if found is None:
        return False
    rows = table(found)
    families = list(rows[0]["families"])
    lines = [
        [r["what"], r["all"], f"{100 * r['share']:.1f}", *(r["families"][name] for name in families)] for r in rows
    ]
    columns = ["yield", ">all", ">%", *(f">{name or '-'}" for name in families)]
    screen.table(columns, lines)
    return True
