"""Two sets of results held against each other, and the gates that a difference must keep.

Start with ``compare``.
"""
