"""What the report computes from rows: curves, series, BD-rates and paired differences.

Start with ``series``, which says which rows are one curve.
"""
