"""Searches: choose the next trials of a sweep in batches, each from the results of all batches before.

May import ``results``, ``spec`` and what lies below them; knows no scheduler. Start with ``base``, then
``running``, which drives a search; ``curve``, ``target`` and ``optuna`` (in ``studies``) are the three kinds.
"""
