"""Every verb in surroundings that machines of other people have, and what became of it as a table.

    uv run python tools/surroundings.py --out surroundings.md
    uv run python tools/surroundings.py --verbs 'status;sweep' --surroundings 'no home;full stdout'

Passed: no traceback and nothing that Python remarks on at its exit, the exit code that is due, and the same
lines as in plain surroundings where standard output is there. Each verb runs in a folder of its own that
holds a sweep file, two small results folders and a file of a variant. To be another user it takes root;
without, a user without a home is played in the verb's own process.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

SPEC = """
name: tiny # rate in nats, \N{GREEK SMALL LETTER SIGMA} learned
dataset: {name: digits, train_images: 128, test_images: 64}
variants: [beta_vae, bs_vae]
beta: [0.1, 1]
train: {epochs: 1, batch_size: 64}
model: {latent: 4, channels: [8, 16]}
keep_weights: true
"""
PATIENCE = 240  # seconds
NOBODY = 12345  # a user id without an entry in passwd
GONE = 141  # a reader that had enough
SHORT = "standard output: cannot be written"
NO_ACCOUNT = """
import pwd
def getpwuid(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
"""
PLAY_NO_HOME = f"{NO_ACCOUNT}from rdbench.cli.app import main; main()"


@dataclass(frozen=True)
class Verb:
    """A command, run where ``tiny.yaml``, ``a``, ``b`` and ``mine.py`` are.

    Attributes:
        arguments: of the command line.
        codes: that are due in surroundings it can work in.
        output: whether what it prints is what it is for; else it tells of work done.
        cache: whether it can do nothing without one.
        slow: whether it runs only when asked for.
    """

    arguments: str
    codes: tuple[int, ...] = (0,)
    output: bool = True
    cache: bool = False
    slow: bool = False


VERBS = {
    "--version": Verb("--version"),
    "--help": Verb("--help"),
    "sweep": Verb("sweep tiny.yaml --results new", output=False, cache=True),
    "sweep --dry-run": Verb("sweep tiny.yaml --results a --set seeds=2 --dry-run"),
    "status": Verb("status a"),
    "report": Verb("report a b --out both.html", output=False),
    "report --format": Verb("report a --format csv --format json --out files", output=False),
    "compare": Verb("compare a b"),
    "compare --out": Verb("compare a b --out changes.json --format json", output=False),
    "compare, a device": Verb("compare a b --out /dev/stdout"),
    "trial": Verb("trial tiny.yaml", cache=True),
    "evaluate": Verb("evaluate a --metrics latents", output=False, cache=True),
    "sample": Verb("sample a 'bs_vae beta 1' --n 4", (0, 2), output=False),
    "check": Verb("check ./mine.py:mine", cache=True),
    "new": Verb("new variant your.py", output=False),
    "new, printed": Verb("new variant -"),
    "variants": Verb("variants"),
    "metrics": Verb("metrics"),
    "data list": Verb("data list"),
    "data prepare": Verb("data prepare digits", output=False, cache=True),
    "data verify": Verb("data verify digits"),
    "doctor": Verb("doctor", (0, 1)),
    "weights": Verb("weights", (2,), output=False),
    "compact": Verb("compact a", output=False),
    "bench": Verb("bench tiny.yaml --steps 1 --repetitions 1 --pack 1"),
    "calibrate": Verb(
        "calibrate --results new --set train.epochs=1", (0, 1), output=False, cache=True, slow=True
    ),
}


@dataclass(frozen=True)
class Surroundings:
    """What differs from a developer's machine.

    Attributes:
        environment: variables that are set; None for one that is not.
        redirect: of the shell.
        reader_gone: whether nobody reads from the pipe that standard output is.
        nobody: whether the user is one without passwd entry.
        folder: name of the folder in which the verb's own folder lies.
        prefix: of the command.
        has_cache: whether there is one.
        has_results: whether those in ``a`` may be read.
    """

    environment: Mapping[str, str | None] = field(default_factory=dict)
    redirect: str = ""
    reader_gone: bool = False
    nobody: bool = False
    folder: bytes = b"plain"
    prefix: Sequence[str] = ()
    has_cache: bool = True
    has_results: bool = True

    @property
    def has_output(self) -> bool:
        """Whether standard output can be written."""
        return not (self.redirect or self.reader_gone)


NO_NAME = dict.fromkeys(
    ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
)
CLOSED = ">&-"
FULL = ">/dev/full"


def surroundings(base: Path, one_cpu: Sequence[str]) -> dict[str, Surroundings]:
    """Return them by name; folders that they need are made below ``base``."""
    locked, long = base / "locked", base / ("long" * 40)[: max(1, 120 - len(str(base)) - 1)]
    for folder, mode in ((locked, 0o555), (long, 0o777)):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    none: dict[str, str | None] = {"RDBENCH_CACHE": None}
    ascii_ = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return {
        "plain": Surroundings(),
        "no home": Surroundings({**NO_NAME, **none}, nobody=True, has_cache=False),
        "no home, a cache": Surroundings(NO_NAME, nobody=True),
        "locked home": Surroundings({**NO_NAME, **none, "HOME": str(locked)}, nobody=True, has_cache=False),
        "another's home": Surroundings({**NO_NAME, **none, "HOME": "/root"}, nobody=True, has_cache=False),
        "long TMPDIR": Surroundings({"TMPDIR": str(long)}),
        "latin-1": Surroundings({"PYTHONIOENCODING": "latin-1"}),
        "ascii": Surroundings({**ascii_, "PYTHONIOENCODING": None}),
        "closed stdout": Surroundings(redirect=CLOSED),
        "all closed": Surroundings(redirect=f"{CLOSED} 2>&- <&-"),
        "full stdout": Surroundings(redirect=FULL),
        "all full": Surroundings(redirect=f"{FULL} 2>/dev/full"),
        "reader gone": Surroundings(reader_gone=True),
        "folder not UTF-8": Surroundings(folder=b"caf\xe9"),
        "1 CPU": Surroundings(prefix=one_cpu),
        "locked results": Surroundings(
            NO_NAME, nobody=True, prefix=["sh", "-c", 'chmod 0 a; exec "$@"', "sh"], has_results=False
        ),
    }


@dataclass
class Ended:
    """How a verb ended: its exit code, what it printed, and what should not be."""

    code: int
    out: str
    err: str
    problems: list[str]


def due(verb: Verb, around: Surroundings) -> tuple[int, ...]:
    """Return the exit codes that are right."""
    if not around.has_results and "a" in verb.arguments.split():
        return (5,)
    if not around.has_cache and verb.cache:
        return (2,)
    if verb.output and not around.has_output:
        return (GONE,) if around.reader_gone else (5,)
    return verb.codes


def judge(verb: Verb, around: Surroundings, code: int, out: str, err: str) -> Ended:
    """Say what should not be in what a verb left."""
    problems = []
    if code not in due(verb, around):
        problems.append(f"exit code {code}")
    for word in ("Traceback", "Exception ignored", "UnicodeEncodeError", "Logging error"):
        if word in out + err:
            problems.append(word)
    if not err and code in (2, 5) and "2>" not in around.redirect:
        problems.append("not a word")
    if around.has_output and code == 0 and not out:
        problems.append("no output")
    return Ended(code, out, err, problems)


def interpreter(nobody: bool) -> list[str]:
    """Return a Python that the user can start, with this one's packages."""
    if not nobody or os.geteuid() != 0:
        return [sys.executable]
    own = [path for path in sys.path if path.endswith("site-packages")]
    found = Path(__file__).parent.parent
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = ["env", f"PYTHONPATH={os.pathsep.join([str(found), *own])}", python]
        with contextlib.suppress(OSError):
            test = subprocess.run(
                [*command, "-c", "import rdbench.cli.app"], user=NOBODY, capture_output=True
            )
            if test.returncode == 0:
                return command
    raise SystemExit(f"no Python here that user {NOBODY} can start")


def run(
    verb: Verb, around: Surroundings, base: Path, template: Path, cache: Path, python: Sequence[str]
) -> Ended:
    """Run a verb in surroundings, in a copy of the template."""
    above = Path(tempfile.mkdtemp(dir=base))
    folder, own_cache = above / os.fsdecode(around.folder), above / "cache"
    shutil.copytree(template, folder)
    shutil.copytree(cache, own_cache)
    is_nobody = around.nobody and os.geteuid() == 0
    if is_nobody:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", above], check=True)
    environment: dict[str, str | None] = {
        **os.environ,
        "RDBENCH_CACHE": str(own_cache),
        "OMP_NUM_THREADS": "1",
        **around.environment,
    }
    start = [*python, "-c", PLAY_NO_HOME] if around.nobody and not is_nobody else [*python, "-m", "rdbench"]
    words = [*around.prefix, "sh", "-c", f'exec "$@" {around.redirect}', "sh", *start]
    words += shlex.split(verb.arguments)
    reader, writer = os.pipe()
    if around.reader_gone:
        os.close(reader)
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env={name: value for name, value in environment.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=writer if around.reader_gone else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
            **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if is_nobody else {}),
        )
    except subprocess.TimeoutExpired as late:
        return Ended(-1, "", (late.stderr or b"").decode(errors="replace"), ["it hangs"])
    finally:
        os.close(writer)
        if not around.reader_gone:
            os.close(reader)
    out, err = ((text or b"").decode(errors="backslashreplace") for text in (done.stdout, done.stderr))
    ended = judge(verb, around, done.returncode, out, err)
    if verb is VERBS["sweep"] and done.returncode == 0:
        there = len(list((folder / "new" / "trials").glob("*.parquet")))
        there += (folder / "new" / "report.html").exists()
        if there != 5:
            ended.problems.append("trials or the report are not there")
    shutil.rmtree(above, ignore_errors=True)
    return ended


@contextlib.contextmanager
def one_cpu() -> Iterator[list[str]]:
    """Yield the beginning of a command with one CPU: by a quota, or where none can be set, by affinity."""
    group = Path(f"/sys/fs/cgroup/cpu/rdbench-surroundings-{os.getpid()}")  # cgroup v1
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text((group / "cpu.cfs_period_us").read_text())
    except OSError:
        yield ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
        return
    try:
        yield ["sh", "-c", f'echo $$ > {group / "cgroup.procs"}; exec "$@"', "sh"]
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def prepared(base: Path) -> tuple[Path, Path]:
    """Make the folder that every verb is run in a copy of, and a cache; return both."""
    template, cache = base / "template", base / "cache"
    template.mkdir()
    (template / "tiny.yaml").write_text(SPEC, encoding="utf-8")
    environment = {**os.environ, "RDBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    for words in ("sweep tiny.yaml --results a", "new variant mine.py"):
        command = [sys.executable, "-m", "rdbench", *words.split()]
        subprocess.run(command, cwd=template, env=environment, check=True, capture_output=True)
    shutil.copytree(template / "a", template / "b")
    return template, cache


def table(found: Mapping[tuple[str, str], Ended], verbs: Sequence[str], around: Sequence[str]) -> list[str]:
    """Return what was found as Markdown: the exit codes, and what should not be."""
    lines = [f"| verb | {' | '.join(around)} |", "|---" * (len(around) + 1) + "|"]
    for verb in verbs:
        cells = []
        for each in around:
            ended = found[verb, each]
            cells.append(f"**{'; '.join(ended.problems)}**" if ended.problems else str(ended.code))
        lines.append(f"| {verb} | {' | '.join(cells)} |")
    return lines


def main(verbs: Sequence[str], chosen: Sequence[str], jobs: int, out: Path | None) -> int:
    """Run the verbs in the surroundings; return how many were not as they should be."""
    base = Path(tempfile.mkdtemp(prefix="rdb-"))
    base.chmod(0o755)
    with one_cpu() as prefix, ThreadPoolExecutor(jobs) as pool:
        places = surroundings(base, prefix)
        template, cache = prepared(base)
        pythons = {nobody: interpreter(nobody) for nobody in {places[each].nobody for each in chosen}}
        asked = {
            (verb, each): pool.submit(
                run, VERBS[verb], places[each], base, template, cache, pythons[places[each].nobody]
            )
            for verb in verbs
            for each in chosen
        }
        found = {}
        for key, future in asked.items():
            found[key] = ended = future.result()
            print(f"{', '.join(key)}: {ended.problems or ended.code}", file=sys.stderr, flush=True)
            if ended.problems or ended.code not in (0, GONE):
                print("    " + "\n    ".join(ended.err.splitlines()[-4:]), file=sys.stderr, flush=True)
        lines = table(found, verbs, chosen)
        if "1 CPU" in chosen:
            lines += ["", f"1 CPU: by {'affinity' if prefix[0] == 'taskset' else 'a quota of cgroup v1'}."]
    shutil.rmtree(base, ignore_errors=True)
    wrong = sum(bool(ended.problems) for ended in found.values())
    lines += ["", f"{len(found) - wrong} of {len(found)} as they should be."]
    print("\n".join(lines))
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return wrong


if __name__ == "__main__":
    names = list(surroundings(Path(tempfile.mkdtemp()), []))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--verbs", default=";".join(name for name in VERBS if not VERBS[name].slow))
    parser.add_argument("--surroundings", default="", help="names, separated by ';'")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    wanted = given.surroundings.split(";") if given.surroundings else names
    verbs = given.verbs.split(";")  # a name may hold a comma
    if unknown := [verb for verb in verbs if verb not in VERBS]:
        parser.error(f"--verbs: no {unknown[0]!r}; choose from {', '.join(VERBS)}, with semicolons between")
    sys.exit(min(1, main(verbs, wanted, given.jobs, given.out)))
