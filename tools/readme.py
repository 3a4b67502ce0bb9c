"""Run every command and code block of the README, in order, as it is printed.

    git clone . /tmp/clone && cd /tmp/clone && python3 tools/readme.py

For a clean clone, in which it leaves the results; about twenty minutes on two cores. What a command writes
goes to the terminal. It ends with a line for each block, and with exit code 1 where one failed. The tests are
left out (``--tests`` runs them, too), and so is what needs a download: ``--all`` runs everything.
"""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
DOWNLOADS = ("mnist_", "celeba_rd.yaml\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins at, and the paragraph before it."""

    language: str
    text: str
    line: int
    before: str

    @property
    def file(self) -> str:
        """The file that a Python block is to be saved as, which the text before it names; else ""."""
        named = re.findall(r"`(\w+\.py)`", self.before)
        return str(named[-1]) if self.language == "python" and named else ""


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text, in order."""
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], match[2], line, before))
    return found


def run(block: Block) -> int:
    """Do what a reader would do with a block; return the exit code."""
    if block.file:
        Path(block.file).write_text(block.text)
        return 0
    python = ["uv", "run", "python", "-c", block.text]
    command = python if block.language == "python" else ["sh", "-ec", block.text]
    return subprocess.run(command, check=False).returncode


def main(everything: bool, tests: bool) -> int:
    """Run all blocks; return how many failed."""
    told, failed = [], 0
    for block in blocks(README.read_text()):
        if block.language not in ("sh", "python"):
            continue
        first = block.text.splitlines()[0]
        if ("pytest" in block.text and not (tests or everything)) or (
            not everything and "--dry-run" not in block.text and any(name in block.text for name in DOWNLOADS)
        ):
            told.append(f"left out            line {block.line}: {first}")
            continue
        print(f"\n$ {block.text.strip()}", flush=True)
        start = time.monotonic()
        code = run(block)
        failed += code != 0
        told.append(f"exit {code}, {time.monotonic() - start:6.1f} s   line {block.line}: {first}")
    print("", *told, f"{failed} blocks failed", sep="\n")
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main("--all" in sys.argv, "--tests" in sys.argv)))
