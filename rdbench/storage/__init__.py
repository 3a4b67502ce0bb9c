"""Where bytes go: a folder or a bucket, the cache, scratch folders, and files that a user names.

May import the top-level files only. Start with ``places``; ``cache`` is the one way to keep what can be made
again.
"""
