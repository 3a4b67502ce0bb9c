"""Searches: the next trials of a sweep, chosen from those that ended.

Trials end in any order, on many workers. If a choice were made whenever one ends, it would depend on which
was first, and no search would repeat. So choices are made in batches: each from the results of all batches
before, when the last is in. What was chosen is recorded in the results folder before it is trained, and so
is what was there before the search began: a search that was killed goes on with the batch it was at, and
then chooses what it would have chosen.

``curve``, with ``gaps`` (its geometry), and ``target`` are in modules of that name; ``optuna`` in
``studies``, with ``space`` (what its ranges mean) and ``journal`` (its storage); the record in ``begin``;
early stopping in ``stopping``. Knows no scheduler.
"""
