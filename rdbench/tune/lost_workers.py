"""Why a worker was lost, in plain words, from what Ray knows of its death."""

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray import exceptions
from ray._private.state import state
from ray.core.generated import common_pb2, gcs_pb2

MEMORY = "was killed for want of memory"
NODE = "was lost with its node"
KILLED = "was killed or crashed"

_REASON = common_pb2.ActorDiedErrorContext.Reason
_MENDS = {
    MEMORY: "run fewer trials at a time (--concurrency N), or smaller ones (resources.pack)",
    NODE: "see why nodes are lost, then run the same command again",
    KILLED: "where the kernel's log tells of memory, run fewer trials at a time (--concurrency N)",
}


@dataclass(frozen=True)
class Loss:
    """One lost attempt: what the worker did, as the rest of "the worker ...", and the traceback if any."""

    cause: str
    traceback: str = ""


class MemoryLossError(exceptions.RayActorError):  # type: ignore[misc]
    """A worker that Ray killed because its node ran out of memory."""


def as_actor_error(error: Exception) -> Exception:
    """Return an error in the class by which Tune knows a dead worker.

    Where Ray kills a worker for want of memory it raises a class that Tune does not expect, and the whole run
    would end.
    """
    return MemoryLossError() if isinstance(error, exceptions.OutOfMemoryError) else error


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
        accessor = state._connect_and_get_accessor()
        record = gcs_pb2.ActorTableData.FromString(accessor.get_actor_info(ray.ActorID.from_hex(actor)))
        reason = record.death_cause.actor_died_error_context.reason
        if record.death_cause.HasField("oom_context") or reason in (_REASON.WORKER_DIED, _REASON.NODE_DIED):
            return cause_of_death(record.death_cause)
        # Ray takes a while to find a node dead, and Tune lets go of the actor before.
        return KILLED if _answers(record.address.node_id.hex()) else NODE
    except Exception:
        return KILLED  # another version of Ray, or no connection any more


def _answers(node: str) -> bool:
    """Whether a node's raylet can be reached."""
    (found,) = (each for each in ray.nodes() if each["NodeID"] == node)
    try:
        socket.create_connection((found["NodeManagerAddress"], found["NodeManagerPort"]), 3).close()
    except OSError:
        return False
    return bool(found["Alive"])


def cause_of_death(record: common_pb2.ActorDeathCause) -> str:
    """Return what Ray's record of an actor's death means for the worker."""
    context = record.actor_died_error_context
    if record.HasField("oom_context"):
        return MEMORY
    return NODE if context.reason == _REASON.NODE_DIED else KILLED


def verdict(losses: Sequence[Loss]) -> str:
    """Return why trials are given up after these losses: a line, then the last traceback if there is one."""
    counts = Counter(each.cause for each in losses)
    causes = ", ".join(f"{cause}{f' {count} times' if count > 1 else ''}" for cause, count in counts.items())
    mend = _MENDS.get(counts.most_common(1)[0][0], "")
    line = f"the worker {causes}{f'; {mend}' if mend else ''}"
    return f"{line}\n{losses[-1].traceback}".strip()


def last_line(text: str) -> str:
    """Return the last line of a text that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
