"""The command line, with typer: a file a verb or a few that belong together; no logic.

May import everything, and does so within the verbs, so that ``--help`` comes at once. Start with ``app``.
"""
