"""Where bytes go: a folder or a bucket, the cache, scratch folders, and files that a user names.

May import nothing else of rdbench but its top-level files. Start with ``places``.
"""
