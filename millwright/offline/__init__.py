"""The offline store: features as they were at a time.

Belongs here: the Feast adapter (store.py, which imports feast). Does not: the online store, what a feature is.
"""
