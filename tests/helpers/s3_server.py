"""An S3 server for tests, moto's, in a process of its own; and a proxy before it that fails as it is told."""

import contextlib
import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ports import free_port

UNPASSED = ("transfer-encoding", "expect", "content-length")
REFUSAL = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'


@contextlib.contextmanager
def moto():
    """Yield the port of a running server; None where it cannot be had."""
    if shutil.which("uvx") is None:
        yield None
        return
    port = free_port()
    # By uvx, as what it needs clashes with what rdbench needs.
    command = ["uvx", "--from", "moto[server]", "moto_server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port if _answers(server, port) else None
    finally:
        server.terminate()
        server.wait(10)


def _answers(server, port):
    deadline = time.monotonic() + 90  # the first time it is downloaded
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.1)
    return False


class Proxy:
    """Passes requests on to a server, and does to them what is asked.

    Attributes:
        fault: name of what happens to the next ``times`` requests: "503", "silent", "cut" (the connection,
            within the body of an answer) or the code of a refusal such as "AccessDenied".
        latency: seconds that each answer is held back.
        requests: how many came, by method.
    """

    def __init__(self, server):
        self.server = server
        self.port = free_port()
        self.fault, self.times, self.latency = "", 0, 0.0
        self.requests = Counter()
        self._lock = threading.Lock()
        self.listen()

    def listen(self):
        """Begin to accept connections."""
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def refuse(self):
        """Refuse connections from now on, and drop those there are."""
        self._http.shutdown()
        self._http.server_close()
        self.fault, self.times = "drop", 10**9

    def recover(self):
        """Serve again."""
        self.fault, self.times = "", 0
        self.listen()

    def fail(self, fault, times=10**9):
        self.fault, self.times = fault, times

    def next_fault(self):
        with self._lock:
            self.times -= 1
            return self.fault if self.times >= 0 else ""


def _handler(proxy):  # noqa: C901 (one branch a request)
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def handle_request(self):
            with proxy._lock:
                proxy.requests[self.command] += 1
            body = self._body()
            fault = proxy.next_fault()
            time.sleep(proxy.latency)
            if fault == "drop":
                self.close_connection = True
                self.connection.close()
            elif fault == "silent":
                time.sleep(3)
                self.close_connection = True
            elif fault == "503":
                self._answer(503, [], REFUSAL.format(code="SlowDown").encode())
            elif fault == "cut":
                status, headers, content = self._passed_on(body)
                self._answer(status, headers, content, cut=len(content) // 2 if content else None)
            elif fault:
                self._answer(403, [], REFUSAL.format(code=fault).encode())
            else:
                self._answer(*self._passed_on(body))

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request  # noqa: N815

        def _body(self):
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _passed_on(self, body):
            passed = http.client.HTTPConnection("127.0.0.1", proxy.server, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in UNPASSED}
            headers["Content-Length"] = str(len(body))
            passed.request(self.command, self.path, body, headers)
            answer = passed.getresponse()
            content = answer.read()
            passed.close()
            return answer.status, answer.getheaders(), content

        def _answer(self, status, headers, content, cut=None):
            self.send_response_only(status)
            hidden = ("transfer-encoding", "connection") + (
                () if self.command == "HEAD" else ("content-length",)
            )
            for name, value in headers:
                if name.lower() not in hidden:
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            elif status >= 400:
                self.send_header("Content-Length", "0")
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content[:cut])
            if cut is not None:
                self.close_connection = True

    return Handler
