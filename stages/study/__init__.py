"""Claims about the recipe, decided from sealed artifacts.

`claims` reads them from YAML; `figures` finds what they compare; `resample` puts intervals around it; `verdict` says
holds, does not hold, cannot tell or not run; `tables` writes that down for people. Nothing here trains or samples, and
nothing is chosen after the fact: a claim, its metric, its control and the paper's number stand in a file that is
committed before the runs it speaks of.
"""

from __future__ import annotations
