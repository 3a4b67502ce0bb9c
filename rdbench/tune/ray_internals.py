"""Everything that rests on private modules of Ray, and so on its version."""

from typing import Any

import ray
from ray import exceptions
from ray._private import worker
from ray._private.state import state
from ray.air._internal import usage
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.core.generated import gcs_pb2
from ray.core.generated.common_pb2 import ActorDeathCause, ActorDiedErrorContext

REASON = ActorDiedErrorContext.Reason

__all__ = ["REASON", "ActorDeathCause", "MemoryLossError", "actor_record"]


def dead_daemons() -> set[str]:
    """Return the kinds of those processes of the Ray that this process started which have died."""
    node = worker._global_node
    return {kind for kind, process in node.dead_processes()} if node else set()


def actor_record(actor: str) -> Any:
    """Return what Ray knows of an actor, by its id in hexadecimal digits.

    Raises:
        Exception: of some kind, where there is no connection any more, or the version of Ray is another.
    """
    accessor = state._connect_and_get_accessor()
    return gcs_pb2.ActorTableData.FromString(accessor.get_actor_info(ray.ActorID.from_hex(actor)))


class MemoryLossError(exceptions.RayActorError):  # type: ignore[misc]
    """A worker that Ray killed because its node ran out of memory."""


def as_actor_error(error: Exception) -> Exception:
    """Return an error in the class by which Tune knows a dead worker.

    Where Ray kills a worker for want of memory it raises a class that Tune does not expect, and the whole run
    would end.
    """
    return MemoryLossError() if isinstance(error, exceptions.OutOfMemoryError) else error


def count_no_callbacks() -> None:
    """Have Tune not count callbacks by kind for a report of usage that is never sent.

    It would import MLflow, Comet and Weights & Biases for that, where installed: seconds, and folders of
    temporary files that a killed process leaves.
    """
    usage.tag_callbacks = lambda callbacks: False


def survive_memory_kills() -> None:
    """Have Tune take a worker that was killed for want of memory for what it is: dead, and to be replaced."""
    failed = RayActorManager._actor_task_failed

    def failed_as_actor_error(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        failed(self, tracked_actor_task, as_actor_error(exception))

    RayActorManager._actor_task_failed = failed_as_actor_error
