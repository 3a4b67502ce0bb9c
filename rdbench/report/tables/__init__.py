"""The tables of the report: what each is made of, and how one is written.

Start with ``table``, what every table is; ``measured`` decides which values are bold, ``write`` makes files.
"""
