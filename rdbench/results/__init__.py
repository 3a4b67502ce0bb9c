"""A results folder: the Parquet tables of a sweep, written atomically, read, repaired and compacted.

May import ``spec``, ``metrics``, ``registry`` and ``storage``. Start with ``store``, whose ``ResultsFolder``
holds them, and ``load``, which reads them into pandas frames; ``tracking``
tells trackers of committed trials.
"""
