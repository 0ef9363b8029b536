"""Checks of what a step wrote: observed against expected, with offending rows. flow.py runs them after each step.

Belongs here: what is checked, in SELECTs that cost little beside the step. A check that cannot run has failed.
Does not: Dagster's events (platform_assets/checks.py), rules for single cells (landing/).
"""

from millwright.checks.catalogue import ONLINE, ONLINE_WHOLE, VIEW, WAREHOUSE, Check
from millwright.checks.online import check_published
from millwright.checks.result import CheckResult
from millwright.checks.views import check_view
from millwright.checks.warehouse import check_warehouse

__all__ = [
    "ONLINE",
    "ONLINE_WHOLE",
    "VIEW",
    "WAREHOUSE",
    "Check",
    "CheckResult",
    "check_published",
    "check_view",
    "check_warehouse",
]
