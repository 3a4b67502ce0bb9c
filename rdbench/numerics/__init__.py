"""Pure functions: likelihoods, the theory of Gaussian sources, statistics of features, seeding, precision.

May import the top-level files only; knows no model, dataset or folder. Start with ``likelihood``; ``theory``
is the oracle that the harness is calibrated against.
"""
