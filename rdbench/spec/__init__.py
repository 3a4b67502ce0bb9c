"""A sweep file and what it means: YAML to a validated Sweep, and a Sweep to trials with their ids.

May import ``metrics``, ``datasets``, ``registry`` and what is below. Start with ``sweep``, the settings, and
``plan``, where a trial and its id are made.
"""
