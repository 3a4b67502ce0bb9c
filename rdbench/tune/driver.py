"""What runs in a driver's process: Ray Tune's loop over the packs, reported event by event.

Tune's own experiment files are kept in a temporary folder and thrown away. Neither this process nor Tune
knows what a worker does with a pack; it needs no torch.
"""

import functools
import os
import pickle
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rdbench.storage import paths

# Ray reads these when it is imported.
os.environ.update(
    {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else "uv run" builds workers a second environment
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # workers without a GPU learn so from their job
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # nobody resumes from Tune's own snapshots
    }
    | paths.home_variable()
    | dict(os.environ)
)

import psutil
import ray
from ray import tune
from ray.util.queue import Queue

from rdbench.errors import StorageError, UserError
from rdbench.metrics.failures import last_line
from rdbench.spec.plan import Trial, packable
from rdbench.storage.scratch import Scratch
from rdbench.trial.scheduler import ATTEMPTS
from rdbench.tune import cluster, ray_internals
from rdbench.tune.pack_queue import Message, PackQueue
from rdbench.tune.packs import cut_into_packs, gpu_share, slots
from rdbench.tune.session import Event, Request, end_session
from rdbench.tune.worker_deaths import NODE, Loss, loss, why_given_up

HEARTBEAT_SECONDS = 2.0
NODES = 20  # nodes that a pack may lose before that counts against it

Emit = Callable[[Event], None]
Hear = Callable[[], list[Message]]


@functools.lru_cache(maxsize=1)
def _unpack(shipment: bytes, folder: str | None, niceness: int) -> tuple[Any, Any]:
    """Get a worker's process ready, once for all its packs."""
    cluster.take_niceness(niceness)
    if folder:
        os.chdir(folder)
    function, job = pickle.loads(shipment)
    return function, job


def _work(config: dict[str, Any], shipment: bytes, folder: str | None, device: str, niceness: int) -> None:
    """Run one pack in a worker."""
    from rdbench.trial.job import Hung, Retry

    function, job = _unpack(shipment, folder, niceness)
    started = last_beat = time.monotonic()

    def heartbeat(share: float) -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat > HEARTBEAT_SECONDS:
            last_beat = time.monotonic()
            tune.report({"share": share})

    if config["job"]["peers"]:
        job = replace(job, peers=tuple(config["job"]["peers"]))
    try:
        ended = function([Trial.from_json(text) for text in config["job"]["trials"]], job, device, heartbeat)
    except StorageError as error:
        # On one machine the results folder is at fault; on a cluster it may be this node's way there.
        tune.report({"fatal": str(error)} if folder else {"retry": str(error)})
        if not folder:
            os._exit(1)
    except Hung:
        # A thread that hangs cannot be ended, but its process can; once report returns, Tune has it.
        tune.report({"hung": True})
        os._exit(1)
    except Retry as error:
        tune.report({"retry": str(error), "counts": error.counts})
        os._exit(1)  # what is wrong with a device is often wrong for this process alone
    else:
        tune.report({"ended": ended, "busy": time.monotonic() - started})


class _Narrator(tune.Callback):  # type: ignore[misc]
    """Reports Tune's events, and lets nothing new begin once the user asked to stop."""

    def __init__(self, emit: Emit, source: PackQueue) -> None:
        self._emit, self._source = emit, source
        self._said: dict[str, Loss | None] = {}  # what a worker said before it ended its process
        self._losses: dict[str, list[Loss]] = {}
        self.first_bytes: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune snapshots its callbacks; nobody resumes from that, and a link cannot be pickled

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._source.listen()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._emit({"kind": "began", "pack": trial.config["job"]["pack"]})

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        event = {"pack": trial.config["job"]["pack"]}
        if "ended" in result:
            self.first_bytes = self.first_bytes or psutil.Process().memory_info().rss
            self._emit(event | {"kind": "ended", "figures": result["ended"], "busy": result["busy"]})
        elif "fatal" in result:
            self._emit(event | {"kind": "fatal", "error": result["fatal"]})
        elif "hung" in result:
            self._said[trial.trial_id] = None
            self._emit(event | {"kind": "hung"})
        elif "retry" in result:
            text = result["retry"]
            counts = result.get("counts", True)
            self._said[trial.trial_id] = Loss(f"met a fault ({last_line(text)})", text, counts)
        else:
            self._emit(event | {"kind": "share", "share": result["share"]})

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        lost = self._lost(trial)
        # A trial that hung was committed as failed, and the rest of its pack has lost nothing yet. Nor has a
        # pack whose variants could not be recorded, one after another, as each is tried once. Nodes come
        # and go, as on preemptible machines.
        if lost is None or not lost.counts or (lost.cause == NODE and trial.num_failures < NODES):
            trial.max_failures = trial.num_failures + ATTEMPTS - 1
        if lost:
            self._emit({"kind": "lost", "pack": trial.config["job"]["pack"], "cause": lost.cause})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._lost(trial)
        losses = self._losses.get(trial.trial_id) or [loss(None)]
        self._emit({"kind": "given up", "pack": trial.config["job"]["pack"], "error": why_given_up(losses)})

    def _lost(self, trial: Any) -> Loss | None:
        """Return the loss to report; None for a worker that ended itself because it hung."""
        lost = self._said.pop(trial.trial_id) if trial.trial_id in self._said else loss(_error(trial))
        if lost:
            self._losses.setdefault(trial.trial_id, []).append(lost)
        return lost


def _error(trial: Any) -> Exception | None:
    """Return what ended an attempt; Tune keeps it in a file, of which its getter knows a later copy only."""
    try:
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception:
        return None  # an exception of a class that only workers know
    return error if isinstance(error, Exception) else None


def _pack_size(request: Request, share: float, trials: list[Trial]) -> int:
    if request.resources.pack != "auto":
        return request.resources.pack
    together = packable(trials)
    if not share or not together:
        return 1
    # On a worker: the driver's machine need not have the GPU. Each in a process of its own, as a variant that
    # cannot be measured may cost it the GPU.
    options = {"num_cpus": request.resources.cpus, "num_gpus": share, "max_calls": 1}
    choose = ray.remote(**options)(_choose)
    firsts = {trial.variant: trial for trial in reversed(together)}
    for trial in reversed(firsts.values()):
        if size := ray.get(choose.remote(trial.to_json(), request.niceness)):
            return int(size)
    return 1


def _choose(trial: str, niceness: int) -> int | None:
    from rdbench.tune import pack_size

    cluster.take_niceness(niceness)
    return pack_size.choose(Trial.from_json(trial))


@dataclass
class _Cutter:
    """Cuts batches of trials into packs of those that can train side by side."""

    request: Request
    share: float  # the GPUs a pack gets
    at_a_time: int  # packs
    cut: int = 0  # trials so far: a trial is known by its place among all
    sizes: dict[str, int] = field(default_factory=dict)  # of packs, by what their trials have in common

    def __call__(self, settings: list[str], peers: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return the packs of a batch."""
        trials = [Trial.from_json(text) for text in settings]
        places = {trial.id: place for place, trial in enumerate(trials, self.cut)}
        self.cut += len(trials)
        kinds: dict[str, list[Trial]] = {}
        for trial in trials:
            kinds.setdefault(trial.pack_key, []).append(trial)
        for key, alike in kinds.items():
            self.sizes[key] = self.sizes.get(key) or _pack_size(self.request, self.share, alike)
        return [
            {
                "pack": [places[trial.id] for trial in pack],
                "trials": [trial.to_json() for trial in pack],
                "peers": peers,
            }
            for key, alike in kinds.items()
            for pack in cut_into_packs(alike, self.sizes[key], self.at_a_time, self.request.begun)
        ]


def drive(request: Request, emit: Emit, hear: Hear) -> None:
    """Run what is asked for on the Ray that this process has joined, until all has ended or shall stop.

    ``hear`` returns the supervisor's messages since the last call. After "stop" no further pack begins.
    """
    resources = ray.cluster_resources()
    share = gpu_share(request.resources, resources)
    cluster.check_room(request.resources, share, request.address)
    at_a_time = slots(request.resources, share, resources, request.concurrency)
    emit({"kind": "ready", "slots": at_a_time, "device": _device(share)})
    source = PackQueue(_Cutter(request, share, at_a_time), hear, request.concurrency)
    source.add(request.trials, request.peers)
    if not request.more:
        source.add([], ())
    narrator = _Narrator(emit, source)
    ray_internals.survive_memory_kills()
    ray_internals.count_no_callbacks()
    # Else Tune asks a searcher for one trial ahead only, and starts the workers one after another.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(200, at_a_time))
    with ExitStack() as held:
        scratch = request.scratch or held.enter_context(Scratch())
        tune.Tuner(
            _trainable(request, share),
            tune_config=tune.TuneConfig(
                search_alg=source,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(Path(scratch, "tune")),
                verbose=0,
                callbacks=[narrator],
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            ),
        ).fit()
    now = psutil.Process().memory_info().rss
    emit({"kind": "done", "growth": now - (narrator.first_bytes or now)})


def _device(share: float) -> str:
    return "cuda" if share else "cpu"


def _trainable(request: Request, share: float) -> Any:
    work = tune.with_parameters(
        _work,
        shipment=request.shipment,
        folder=request.folder if request.is_local else None,
        device=_device(share),
        niceness=request.niceness,
    )
    return tune.with_resources(work, {"cpu": request.resources.cpus, "gpu": share})


def _drive_there(request: Request, events: Queue, asked: Queue) -> None:
    """Drive from a cluster's head node; what a Ray client has is too little for Tune."""
    looked = 0.0

    def hear() -> list[Message]:
        nonlocal looked
        if time.monotonic() - looked < 1:
            return []
        looked = time.monotonic()
        return [asked.get() for _ in range(asked.qsize())]

    drive(request, events.put, hear)


def _drive_through_client(request: Request, emit: Emit, hear: Hear) -> None:
    options = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
    events, asked = Queue(actor_options=options), Queue(actor_options=options)
    request = replace(request, scratch="")  # that is a folder on this machine
    driving = ray.remote(max_retries=0, **options)(_drive_there).remote(request, events, asked)
    ended = False
    while not ended:
        ended = bool(ray.wait([driving], timeout=0.3)[0])
        for message in hear():
            asked.put(message)
        while not events.empty():
            emit(events.get())
    ray.get(driving)


class _Link:
    """The connection of a driver's process to its supervisor: events go there, messages come back."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._link = Connection(descriptor)
        self._sending = threading.Lock()
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self.request: Request = self._link.recv()
        threading.Thread(target=self._listen, name="listen", daemon=True).start()

    def emit(self, event: Event) -> None:
        with self._sending:
            self._link.send(event)

    def hear(self) -> list[Message]:
        return [self._messages.get() for _ in range(self._messages.qsize())]

    def broken(self, cause: str) -> None:
        """Report that Ray failed, and end this process."""
        with suppress(OSError):
            self.emit({"kind": "broken", "error": cause})
        _end(1)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._messages.put(self._link.recv())
        # The supervisor is gone, or wants an end now.
        if not self.request.is_local:
            threading.Timer(5, end_session, [os.getsid(0)]).start()
            with suppress(Exception):
                ray.shutdown()
        _end(0)


def main(descriptor: int) -> None:
    """Run a driver's process, connected by a file descriptor to the supervisor that started it."""
    link = _Link(descriptor)
    request = link.request
    try:
        if request.is_local:
            cluster.start(request)
            cluster.watch(link.broken)
        else:
            cluster.join(request.address)
            for line in cluster.check_nodes(request.niceness):
                link.emit({"kind": "note", "text": line})
        run = _drive_through_client if request.address.startswith("ray://") else drive
        run(request, link.emit, link.hear)
        if not request.is_local:
            ray.shutdown()
    except UserError as error:
        # From a cluster's head it comes wrapped in a traceback.
        link.emit({"kind": "refused", "error": str(getattr(error, "cause", error))})
    except Exception as error:
        link.broken(f"{type(error).__name__}: {last_line(str(error))[:200]}")
    _end(0)


def _end(code: int) -> None:
    """End this process and all it started, without what Ray does, and prints, at exit."""
    end_session(os.getsid(0))
    os._exit(code)
