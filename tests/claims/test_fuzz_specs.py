"""Sweep files with anything in them: a sweep, or one line that says what is wrong; never a traceback."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdbench.errors import SpecError
from rdbench.spec.plan import plan
from rdbench.spec.sweep import dump_sweep, load_sweep

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))
LINES = [line for file in SWEEPS for line in file.read_text().splitlines()]
# A value a line.
VALUES = """
~
null
.nan
.inf
-.inf
0
-0.0
1e400
-1
1e-400
99999999999999999999
0x10
1_000
1:30
yes
''
"\\u0000"
[]
{}
[[]]
[1, 1]
[.nan]
{a: 1}
{? a}
!!python/object:os.system
!!binary x
!!set {a}
&a 1
*a
<<
2020-01-01
2020-13-45
|
>
-
?
#
%
@
`
"
a.b
../x
/dev/null
x.py:y
./x.py:x
{name: beta_vae}
{name: [1]}
{name: mnist, train_images: -1}
{logspace: [1, 10, 3]}
{logspace: [0, 1, 2]}
{logspace: 3}
""".strip().splitlines()
VALUES += ["\t", "\x07", "é", "\u202e", "\U0001f642", ""]

replaced = st.tuples(st.just("replace"), st.integers(0, 40), st.sampled_from(VALUES))
inserted = st.tuples(
    st.just("insert"), st.integers(0, 40), st.sampled_from(LINES + VALUES) | st.text(max_size=30)
)
removed = st.tuples(st.just("remove"), st.integers(0, 40), st.just(""))
indented = st.tuples(st.just("indent"), st.integers(0, 40), st.sampled_from([" ", "  ", "\t", "- "]))
nested = st.tuples(
    st.just("nest"), st.integers(0, 40), st.sampled_from(["[" * 300, "{a: " * 300, "- " * 300])
)
edits = st.lists(st.one_of(replaced, inserted, removed, indented, nested), min_size=1, max_size=4)


def edited(text: str, changes: list[tuple[str, int, str]]) -> str:
    lines = text.splitlines()
    for how, where, what in changes:
        at = where % max(1, len(lines))
        if how == "insert" or not lines:
            lines.insert(at, what)
        elif how == "remove":
            del lines[at]
        elif how == "indent":
            lines[at] = what + lines[at]
        else:
            lines[at] = lines[at].split(":")[0] + ": " + what
    return "\n".join(lines)


def judged(folder: Path, content: bytes, stored: bool) -> None:
    """Read a sweep file; what is read must be a whole sweep, and what is not must be told in a line."""
    file = folder / "sweep.yaml"
    file.write_bytes(content)
    try:
        sweep = load_sweep(file, stored=stored)
    except SpecError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert "\n" not in told
        assert str(file) in told
        return
    assert plan(sweep).trials
    file.write_text(dump_sweep(sweep))
    assert load_sweep(file, stored=True) == sweep


quietly = settings(
    derandomize=True,
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("stored", [False, True])
@quietly
@given(number=st.integers(0, len(SWEEPS) - 1), changes=edits)
def test_an_edited_sweep_file_is_a_sweep_or_one_line(tmp_path, stored, number, changes):
    judged(tmp_path, edited(SWEEPS[number].read_text(), changes).encode("utf-8", "surrogatepass"), stored)


@quietly
@given(number=st.integers(0, len(SWEEPS) - 1), at=st.integers(0, 400), what=st.binary(max_size=8))
def test_a_damaged_sweep_file_is_a_sweep_or_one_line(tmp_path, number, at, what):
    content = SWEEPS[number].read_bytes()
    judged(tmp_path, content[:at] + what + content[at + len(what) :], False)
