"""The gallery: one file a variant, named after it and written as a user's own file is.

May import what rdbench offers to every author. Start with ``bs_vae``, the paper's objective, or with
``student_t``, a model with a likelihood of its own.
"""

from rdbench.registry.variants import variant

__all__ = ["variant"]
