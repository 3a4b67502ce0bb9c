"""The tables of the report: what each is made of, and how one is written.

Start with ``table``, what every table is; the bold marks are decided where a table's cells are made.
"""
