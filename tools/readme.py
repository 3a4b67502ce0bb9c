"""Run every command and code block of the README and the documentation, in order, as it is printed.

    git clone . /tmp/clone && cd /tmp/clone && python3 tools/readme.py

For a clean clone, in which it leaves the results; about half an hour on two cores. What a command writes
goes to the terminal. It ends with a line for each block, and with exit code 1 where one failed. The tests are
left out (``--tests`` runs them, too), and so is what needs a download or a server: ``--all`` runs everything.
Names of pages, ``docs/tour.md``, run those alone.
"""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
# In the order of a reader: what a page needs was made by those before it.
PAGES = (
    README,
    *(README.parent / "docs" / name for name in (
        "index.md", "tour.md", "how-to/sweep.md", "how-to/variant.md", "how-to/python.md",
        "how-to/metrics.md", "how-to/plugins.md", "how-to/searches.md", "how-to/data.md", "how-to/cluster.md",
        "how-to/report.md", "how-to/trackers.md",
        "how-to/paper.md", "how-to/failures.md", "explanation/readings.md", "explanation/conclusions.md",
        "explanation/trust.md", "explanation/speed.md", "reference/tables.md",
    )),
)  # fmt: skip
DOWNLOADS = ("mnist_", "celeba_rd.yaml\n", "duckdb-cli", "mkdocs serve")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins at, the paragraph before it, its page."""

    language: str
    text: str
    line: int
    before: str
    page: str = ""

    @property
    def file(self) -> str:
        """The file that a Python block is to be saved as, which the text before it names; else ""."""
        named = re.findall(r"`(\w+\.py)`", self.before)
        return str(named[-1]) if self.language == "python" and named else ""


def blocks(text: str, page: str = "") -> list[Block]:
    """Return the fenced blocks of a Markdown text, in order."""
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], match[2], line, before, page))
    return found


def of_page(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    return blocks(page.read_text(), str(page.relative_to(README.parent)))


def run(block: Block) -> int:
    """Do what a reader would do with a block; return the exit code."""
    if block.file:
        Path(block.file).write_text(block.text)
        return 0
    python = ["uv", "run", "python", "-c", block.text]
    command = python if block.language == "python" else ["sh", "-ec", block.text]
    return subprocess.run(command, check=False).returncode


def main(everything: bool, tests: bool, pages: list[str]) -> int:
    """Run all blocks of some pages, by default of all; return how many failed."""
    told, failed = [], 0
    chosen = [page for page in PAGES if not pages or str(page.relative_to(README.parent)) in pages]
    for block in (block for page in chosen for block in of_page(page)):
        if block.language not in ("sh", "python"):
            continue
        first = block.text.splitlines()[0]
        where = f"{block.page}:{block.line}: {first}"
        if ("pytest" in block.text and not (tests or everything)) or (
            not everything and "--dry-run" not in block.text and any(name in block.text for name in DOWNLOADS)
        ):
            told.append(f"left out            {where}")
            continue
        print(f"\n$ {block.text.strip()}", flush=True)
        start = time.monotonic()
        code = run(block)
        failed += code != 0
        told.append(f"exit {code}, {time.monotonic() - start:6.1f} s   {where}")
    print("", *told, f"{failed} blocks failed", sep="\n")
    return failed


if __name__ == "__main__":
    named = [word for word in sys.argv[1:] if not word.startswith("--")]
    sys.exit(min(1, main("--all" in sys.argv, "--tests" in sys.argv, named)))
