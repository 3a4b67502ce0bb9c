"""Two sets of results compared, and the gates that fail a script when a difference is too large.

Start with ``compare``.
"""
