"""The embedded servers and the tree that supervises them: what `millwright up` starts on one machine.

Belongs here: how each server is prepared, started and checked, their ports and passwords, start and stop in order.
Does not: what the platform does with them (warehouse/, online/, landing/), roles' grants (warehouse/migrations/).
"""
