"""Serve a results folder's report on loopback while its sweep runs, renewed as trials end."""

import html
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rdbench.commands.plan import account, planned
from rdbench.report.page import render
from rdbench.results.store import ResultsFolder
from rdbench.storage.places import Place
from rdbench.text import duration

HOST = "127.0.0.1"
"""Loopback only: nobody else on the network reads the page."""
EVERY = 10.0
"""Seconds between two looks at the folder, and between two loads of the page by the browser."""


@dataclass
class Watched:
    """A results folder and its page, rendered again when a trial has ended.

    Raises:
        ResultsError: the folder is not a results folder.
    """

    root: Place
    clock: Callable[[], float] = time.monotonic
    ended: bool = False  # nothing is left to do
    _page: str = ""
    _status: str = ""
    _first: tuple[float, int] | None = None  # when the watching began, and what was left then
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> str:
        """Look at the folder, render the page if its trials stand otherwise, and return how they stand."""
        status = account(self.root, planned(self.root, ResultsFolder(self.root).sweep()))
        self._first = self._first or (self.clock(), status.left)
        if str(status) != self._status:
            page = render([self.root], self.root / "report.html")
            with self._lock:
                self._page, self._status = page, str(status)
        self.ended = status.left == 0
        return f"{status}{self._remaining(status.left)}"

    def _remaining(self, left: int) -> str:
        since, at_first = self._first or (0.0, left)
        if not 0 < left < at_first:
            return ""
        return f", about {duration((self.clock() - since) * left / (at_first - left))} left"

    def page(self, line: str) -> bytes:
        """Return the page with a line on the progress at its top."""
        with self._lock:
            top = f'<body>\n<p role="status">{html.escape(line)}</p>'
            return self._page.replace("<body>", top, 1).encode()


def serve(root: Place, say: Callable[[str], None], port: int = 0, every: float = EVERY) -> None:
    """Serve the page until the sweep has nothing left to do, or until KeyboardInterrupt.

    Args:
        root: the results folder.
        say: gets the address, and how the watching ended.
        port: 0 for any free one.
        every: seconds between two looks at the folder; at the end the page is served for two more.

    Raises:
        ResultsError: the folder is not a results folder.
        OSError: the port is taken.
    """
    watched = Watched(root)
    line = watched.look()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":
                self.send_error(404)
                return
            content = watched.page(line)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            if not watched.ended:
                self.send_header("Refresh", str(max(1, round(every))))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Print nothing for a request."""

    with ThreadingHTTPServer((HOST, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        say(f"watching {root} at http://{HOST}:{server.server_port}/ (Ctrl-C ends it)")
        try:
            while not watched.ended:
                time.sleep(every)
                line = watched.look()
            say(f"{line}; the sweep is done")
            time.sleep(2 * every)  # so that the browser loads the last page
        except KeyboardInterrupt:
            say("watching ended; a running sweep goes on")
        finally:
            server.shutdown()
