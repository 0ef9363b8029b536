"""Alembic's environment and the numbered SQL files of the platform's schema.

Belongs here: one `.sql` a revision beside its stub. Does not: tables made from definitions (warehouse/tables.py).
"""
