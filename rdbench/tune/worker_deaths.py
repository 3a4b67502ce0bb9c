"""Why a worker was lost, in plain words, from what Ray knows of its death."""

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray import exceptions

from rdbench.metrics.failures import last_line
from rdbench.tune.ray_internals import REASON, ActorDeathCause, MemoryLossError, actor_record

MEMORY = "was killed for want of memory"
NODE = "was lost with its node"
KILLED = "was killed or crashed"

_FIXES = {
    MEMORY: "run fewer trials at a time (--concurrency N), or smaller ones (resources.pack)",
    NODE: "see why nodes are lost, then run the same command again",
    KILLED: "where the kernel's log tells of memory, run fewer trials at a time (--concurrency N)",
}


@dataclass(frozen=True)
class Loss:
    """One lost attempt: what the worker did, as the rest of "the worker ...", and the traceback if any."""

    cause: str
    traceback: str = ""
    counts: bool = True  # among the attempts that a pack has


def loss(error: Exception | None) -> Loss:
    """Return what an error that Tune reports means for the worker."""
    if isinstance(error, exceptions.RayTaskError):
        return Loss(f"failed ({last_line(str(error))})", str(error))
    if isinstance(error, MemoryLossError):
        return Loss(MEMORY)
    if isinstance(error, exceptions.NodeDiedError):
        return Loss(NODE)
    if isinstance(error, exceptions.RayActorError) and error.actor_id:
        return Loss(_look_up(error.actor_id))
    return Loss(KILLED)


def _look_up(actor: str) -> str:
    """Ask Ray's records, where the cause is a value; the text of the error is for people, and changes."""
    try:
        record = actor_record(actor)
        reason = record.death_cause.actor_died_error_context.reason
        if record.death_cause.HasField("oom_context") or reason in (REASON.WORKER_DIED, REASON.NODE_DIED):
            return cause_of_death(record.death_cause)
        # Ray takes a while to find a node dead, and Tune lets go of the actor before.
        return KILLED if _answers(record.address.node_id.hex()) else NODE
    except Exception:
        return KILLED  # another version of Ray, or no connection any more


def _answers(node: str) -> bool:
    """Whether a node's raylet can be reached."""
    (record,) = (known for known in ray.nodes() if known["NodeID"] == node)
    try:
        socket.create_connection((record["NodeManagerAddress"], record["NodeManagerPort"]), 3).close()
    except OSError:
        return False
    return bool(record["Alive"])


def cause_of_death(record: ActorDeathCause) -> str:
    """Return what Ray's record of an actor's death means for the worker."""
    context = record.actor_died_error_context
    if record.HasField("oom_context"):
        return MEMORY
    return NODE if context.reason == REASON.NODE_DIED else KILLED


def why_given_up(losses: Sequence[Loss]) -> str:
    """Return why trials are given up after these losses: a line, then the last traceback if there is one."""
    counts = Counter(loss.cause for loss in losses)
    causes = ", ".join(f"{cause}{f' {count} times' if count > 1 else ''}" for cause, count in counts.items())
    fix = _FIXES.get(counts.most_common(1)[0][0], "")
    line = f"the worker {causes}{f'; {fix}' if fix else ''}"
    return f"{line}\n{losses[-1].traceback}".strip()
