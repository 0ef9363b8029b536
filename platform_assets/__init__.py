"""What exists, as Dagster assets: landing → warehouse → features → feast, online.

Belongs here: asset specs, checks, metadata, partitions, jobs. Does not: any work (millwright/), connections (resources/),
what wakes the platform (sensors/). One module a concept; `definitions.py` puts them together.
"""
