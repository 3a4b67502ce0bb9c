"""Where Ray Tune gets its packs from; a search chooses them in batches, not all at the start."""

from collections import deque
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

Config = dict[str, Any]
Message = Any
"""What the supervisor says: "stop", or ("add", settings of trials, ids of their peers)."""


class PackQueue(Searcher):  # type: ignore[misc]
    """Hands out packs in order, and waits while there is none but more may follow.

    What to train next is decided by :mod:`rdbench.search`. ``cut`` cuts a batch into packs; ``hear`` returns
    the supervisor's messages; at most ``concurrent`` packs run at a time.
    """

    def __init__(
        self,
        cut: Callable[[list[str], tuple[str, ...]], list[Config]],
        hear: Callable[[], list[Message]],
        concurrent: int | None = None,
    ) -> None:
        super().__init__()
        self._cut, self._hear, self._concurrent = cut, hear, concurrent
        self._waiting: deque[Config] = deque()
        self._running: set[str] = set()
        self._finished = False

    def add(self, settings: list[str], peers: tuple[str, ...]) -> None:
        """Hand out another batch after those that wait; an empty one says that no more follow."""
        self._waiting.extend(self._cut(settings, peers) if settings else ())
        self._finished = self._finished or not settings

    def listen(self) -> None:
        """Obey the supervisor's messages: after "stop" hand out nothing."""
        for message in self._hear():
            if message == "stop":
                self._waiting.clear()
                self._finished = True
            else:
                self.add(*message[1:])

    def suggest(self, trial_id: str) -> Config | str | None:
        """Return the next pack, ``FINISHED``, or None: ask again later.

        It listens itself: while nothing runs, Tune does nothing but ask here, once a second.
        """
        self.listen()
        if not self._waiting:
            return str(Searcher.FINISHED) if self._finished else None
        if self._concurrent and len(self._running) >= self._concurrent:
            return None
        self._running.add(trial_id)
        return {"job": self._waiting.popleft()}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Note that a pack no longer runs."""
        self._running.discard(trial_id)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune snapshots its searchers; nobody resumes from that

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: what is left to do follows from the results folder."""
