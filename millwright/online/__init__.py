"""The online store: features in Redis, in Feast's bytes, ordered by snapshot.

Belongs here: codec (Arrow ⇄ bytes), write, read, publish, and the Feast adapter (store.py, the only one that imports feast).
Does not: where rows come from (warehouse/), what a feature is (features/), HTTP (serving/).
"""
