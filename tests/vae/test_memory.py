"""What a trial frees stays for its next step, and is given back before the next trial."""

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
import psutil
from rdbench.vae.memory import give_back_freed_memory, keep_freed_memory

def resident():
    return psutil.Process().memory_info().rss / 1e6

before = resident()
told = keep_freed_memory()
tensors = [np.ones(500_000) for _ in range(100)]  # 4 MB each
held, tensors = tensors[-1], None
kept = resident()
give_back_freed_memory()
print(told, kept - before, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone can be told")
def test_freed_memory_stays_until_it_is_given_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    told, kept, after = done.stdout.split()
    if told == "False":
        pytest.skip("another C library than glibc")
    assert float(kept) > 390
    assert float(after) < 50
