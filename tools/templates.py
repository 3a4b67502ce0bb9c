"""Draw the templates of all charts by Altair into the file that ships with rdbench.

    python tools/templates.py

After a change to their code; tests/report/test_templates.py says when.
"""

from rdbench.report.charts.templates import PREPARED, write

if __name__ == "__main__":
    write()
    print(f"{PREPARED}: {PREPARED.stat().st_size:,} bytes")
