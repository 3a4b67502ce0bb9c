"""The command line, with typer: a file for each verb, or for a few that belong together.

A verb translates its options into calls of ``commands/`` and ``report/``, which it imports in its body: so
``--help`` is fast. May import everything. Start with ``app``, which registers the verbs.
"""
