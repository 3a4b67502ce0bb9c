"""The charts of the report, drawn with Altair.

Start with ``chart``, what every chart is.
"""
