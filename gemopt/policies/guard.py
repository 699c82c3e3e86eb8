"""Public face: what happens when a policy fails."""

from gemopt.serving.guard import attempt, guarded_place, report_once

__all__ = ["attempt", "guarded_place", "report_once"]
