"""The models and their training: networks, objectives, steps, evaluation and checkpoints of a trial.

May import ``results``, ``spec`` and what is below. Start with ``networks``, the paper's
architecture, and ``training``.
"""
