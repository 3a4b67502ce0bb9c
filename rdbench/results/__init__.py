"""A results folder: the Parquet tables of a sweep, written atomically, read, repaired and compacted.

May import ``spec``, ``metrics``, ``registry`` and ``storage``. Start with ``store``, which commits a trial,
and ``load``, which reads all of them.
"""
