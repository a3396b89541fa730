"""The report: artifacts in, one self-contained HTML page out.

`gather` reads what the store knows into a Story, `charts` draws numbers, `page` puts both into page.html. Nothing here
trains, samples or judges: every figure was sealed before, and what was never measured is said to be absent. Model text
is hostile and is escaped wherever it lands.
"""

from __future__ import annotations

from stages.report.page import write_report

__all__ = ["write_report"]
