"""Print the tables of this study: what a lead over constant variance is after 20, 60, 200 and 400 epochs.

uv run python reports/digits_length/figures.py results/digits_length
"""

import sys

from rdbench.report.contents import contents
from rdbench.report.tables.write import to_markdown
from rdbench.storage.places import place

if __name__ == "__main__":
    sections = contents([place(sys.argv[1])]).sections
    for section in sections:
        tables = {table.name: table for table in section.tables}
        wanted = ["grid"] if section.section.varied else ["linear_coder", "claims"]
        for name in wanted:
            if name in tables:
                print(f"\n## {section.heading}\n\n{to_markdown(tables[name])}")
