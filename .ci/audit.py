"""Fail where a package that rdbench needs has a known vulnerability and a release that mends it.

Asks pip-audit, with the versions that are installed for users (no development tools). Where no database can
be reached, or it knows none of the packages, that is said and nothing fails: "nothing was looked up" must not
read as "nothing was found". What is ignored stands in audit-ignored.txt, with its reason.

    python .ci/audit.py [REPORT.json]       a report of pip-audit's, in place of asking it
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
IGNORED = HERE / "audit-ignored.txt"
PIP_AUDIT = "pip-audit==2.10.1"
DATABASES = ("osv", "pypi")
SECONDS = 90


def requirements() -> str:
    """Return the runtime requirements, pinned, a line each."""
    command = [
        "uv",
        "export",
        "--no-dev",
        "--all-extras",
        "--no-hashes",
        "--no-emit-project",
        "--no-annotate",
        "--no-header",
    ]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=True, timeout=SECONDS)
    return done.stdout


def ask(database: str, pinned: str) -> dict[str, Any] | None:
    """Return pip-audit's report from one database; None where there is none to be had."""
    with tempfile.TemporaryDirectory() as folder:
        file, report = Path(folder) / "requirements.txt", Path(folder) / "report.json"
        file.write_text(pinned)
        command = ["uvx", "--quiet", PIP_AUDIT, "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["-r", str(file), "-s", database, "-f", "json", "-o", str(report)]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
            found = json.loads(report.read_text())
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
    return found if looked_up(found) else None


def looked_up(report: dict[str, Any]) -> int:
    """Return of how many packages the database knew; pip-audit passes over the others in silence."""
    return sum("skip_reason" not in package for package in report["dependencies"])


def ignored(text: str) -> dict[str, str]:
    """Return {id: reason} from lines such as ``PYSEC-2026-1  only on Windows``; '#' begins a comment.

    Raises:
        SystemExit: a line has no reason.
    """
    found = {}
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        name, _, reason = line.partition(" ")
        if not reason.strip():
            sys.exit(f"{IGNORED.name}: {name}: say after the id why it is ignored")
        found[name] = reason.strip()
    return found


def judge(report: dict[str, Any], ignore: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return a line for each vulnerability: those that must be mended, and those that are only told."""
    mend, tell = [], []
    for package in report["dependencies"]:
        for each in package.get("vulns", []):
            names = [each["id"], *each.get("aliases", [])]
            line = f"{package['name']} {package['version']}: {', '.join(names)}"
            if reasons := [ignore[name] for name in names if name in ignore]:
                tell.append(f"{line}: ignored: {reasons[0]}")
            elif each.get("fix_versions"):
                mend.append(f"{line}: mended in {', '.join(each['fix_versions'])}")
            else:
                tell.append(f"{line}: no release mends it yet")
    return mend, tell


def main(arguments: list[str]) -> int:
    """Return 1 where something must be mended, else 0."""
    ignore = ignored(IGNORED.read_text())
    if arguments:
        report = json.loads(Path(arguments[0]).read_text())
    else:
        try:
            pinned = requirements()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"audit: not done: uv cannot list the requirements ({type(error).__name__})")
            return 0
        # A local version such as 2.15.0+cpu is in no database.
        pinned = re.sub(r"(==[^\s;+]+)\+[\w.]+", r"\1", pinned)
        report = next(filter(None, (ask(database, pinned) for database in DATABASES)), None)
    if report is None or not looked_up(report):
        print("audit: not done: no database of vulnerabilities could be reached")
        return 0
    mend, tell = judge(report, ignore)
    for line in (*tell, *mend):
        print(f"audit: {line}")
    print(
        f"audit: {looked_up(report)} of {len(report['dependencies'])} packages looked up, "
        f"{len(mend)} to be mended"
    )
    return 1 if mend else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
