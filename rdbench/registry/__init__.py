"""How what is plugged in is declared, found, hashed and imported: variants, of the gallery and of one's own.

May import ``numerics`` and ``storage``. Start with ``variants``, which says how to write one, and ``source``,
which finds it. ``plugins`` is for metrics, datasets and feature networks.
"""
