"""The models and their training: networks, objectives, steps, evaluation and checkpoints of a trial.

May import ``spec``, ``datasets``, ``numerics`` and ``registry``. Start with ``networks``, the paper's
architecture, and ``training``.
"""
