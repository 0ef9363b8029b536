"""What wakes the platform: one sensor that waits for news and plans runs.

Belongs here: waiting (waiting.py), observing (observing.py), deciding (planning.py, pure), telling Dagster (planner.py).
Does not: landing or computing anything (millwright/), assets (platform_assets/).
"""
