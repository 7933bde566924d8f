"""A proxy between programs and a stand-in for Amazon's services that counts and breaks calls.

A fault is switched on for the calls it names (service, operation, resource, access key id) while
programs run, by chance or a number of times. What passes is counted; nothing that passes is kept.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.services.proxy_calls import Call, Reply, Request, call_of
from tests.services.proxy_faults import Fault, Passage

__all__ = ["FaultProxy", "Rule"]

_MOST_CALLS = 100_000
"""Different calls counted apart; later ones are counted without what they were about."""

_UPSTREAM_TIMEOUT_S = 60  # a long poll takes 20 s
_OF_ONE_CONNECTION = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "te", "upgrade"}
)


class Rule:
    """A fault and the calls it is for; `hits` says how often it was performed."""

    def __init__(
        self,
        fault: Fault,
        *,
        service: str | None = None,
        operations: Collection[str] = (),
        resource: str = "",
        by: Collection[str] = (),
        chance: float = 1.0,
        times: int | None = None,
    ) -> None:
        """Name the calls: all, or of a service, of some operations, by some access key ids.

        `resource` is a regular expression searched in the queue's name or "bucket/key"; `chance`
        is the share of the calls that are hit, `times` the most hits.
        """
        self.fault = fault
        self.hits = 0
        self._service = service
        self._operations = frozenset(operations)
        self._resource = re.compile(resource)
        self._by = frozenset(by)
        self._chance = chance
        self._times = times

    def takes(self, call: Call, dice: random.Random) -> bool:
        """Tell whether this call is hit."""
        return (
            (self._times is None or self.hits < self._times)
            and (self._service is None or call.service == self._service)
            and (not self._operations or call.operation in self._operations)
            and (not self._by or call.access_key_id in self._by)
            and self._resource.search(call.resource) is not None
            and dice.random() < self._chance
        )


class FaultProxy:
    """A proxy on a free loopback port, for use in `with`; ends every connection when left."""

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        """Pass everything on to the service at a URL until a rule says otherwise."""
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        self._upstream = (parts.hostname, parts.port or 80)
        self._lock = threading.Lock()
        self._dice = random.Random(seed)
        self._rules: list[Rule] = []
        self._open: set[socket.socket] = set()
        self._calls: Counter[Call] = Counter()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.daemon = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self.cut()
        self._server.server_close()

    def add(self, rule: Rule) -> Rule:
        """Switch a fault on; the rules are asked in the order they came, the first that takes."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def drop(self, rule: Rule) -> None:
        """Switch a fault off; one that is off already stays so."""
        with self._lock:
            self._rules = [kept for kept in self._rules if kept is not rule]

    @contextmanager
    def faulty(self, rule: Rule) -> Iterator[Rule]:
        """Have a fault switched on inside `with`."""
        self.add(rule)
        try:
            yield rule
        finally:
            self.drop(rule)

    def cut(self) -> None:
        """End every connection there is, in whatever state."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended by itself

    def calls(self) -> Counter[Call]:
        """Every call so far, also those that a fault hit, and how often."""
        with self._lock:
            return Counter(self._calls)

    def count(self, *, service: str, operation: str, by: str | None = None) -> int:
        """How often a call was made, by one access key id or all."""
        return sum(
            number
            for call, number in self.calls().items()
            if (call.service, call.operation) == (service, operation)
            and by in {None, call.access_key_id}
        )

    def remember(self, connection: socket.socket) -> None:
        """Know a connection, to end it with the proxy."""
        with self._lock:
            self._open.add(connection)

    def forget(self, connection: socket.socket) -> None:
        """Know a connection no longer."""
        with self._lock:
            self._open.discard(connection)

    def connect(self) -> http.client.HTTPConnection:
        """Make a connection to the service, opened when first used."""
        host, port = self._upstream
        return http.client.HTTPConnection(host, port, timeout=_UPSTREAM_TIMEOUT_S)

    def answer(self, request: Request, upstream: http.client.HTTPConnection) -> Reply | None:
        """Pass a request on, or perform the fault that takes it; None = close the connection."""
        call = call_of(request)
        with self._lock:
            self._note(call)
            rule = next((rule for rule in self._rules if rule.takes(call, self._dice)), None)
            if rule is not None:
                rule.hits += 1
            chance = random.Random(self._dice.getrandbits(64))

        def forward(changed: Request) -> Reply:
            return _forward(changed, upstream)

        if rule is None:
            return forward(request)
        return rule.fault.perform(Passage(call, request, forward, chance, self.closing))

    def _note(self, call: Call) -> None:
        if call not in self._calls and len(self._calls) >= _MOST_CALLS:
            call = Call(call.access_key_id, call.service, call.operation, "")
        self._calls[call] += 1


def _forward(request: Request, upstream: http.client.HTTPConnection) -> Reply:
    headers = {
        name: value for name, value in request.headers.items() if name not in _OF_ONE_CONNECTION
    }
    if request.body or request.method in {"POST", "PUT"}:
        headers["content-length"] = str(len(request.body))
    upstream.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        upstream.putheader(name, value)
    upstream.endheaders(request.body)
    answer = upstream.getresponse()
    body = answer.read()
    kept = {name.lower(): value for name, value in answer.getheaders()}
    length = kept.get("content-length")
    kept = {name: value for name, value in kept.items() if name not in _OF_ONE_CONNECTION}
    if request.method == "HEAD" and length is not None:
        kept["content-length"] = length
    return Reply(answer.status, kept, body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A program that was killed leaves its connection: nothing to say about it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.proxy.remember(self.connection)
        self._upstream = self.server.proxy.connect()

    def finish(self) -> None:
        self.server.proxy.forget(self.connection)
        self._upstream.close()
        super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing a request."""

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def _pass(self) -> None:
        if "transfer-encoding" in self.headers:
            # What boto3 sends over plain HTTP has its length in front.
            self.send_error(411)
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        try:
            reply = self.server.proxy.answer(request, self._upstream)
        except (OSError, http.client.HTTPException):
            # The service is away: to the program its connection ends.
            self._upstream.close()
            reply = None
        if reply is None or self.server.proxy.closing.is_set():
            self.close_connection = True
            return
        self._give(reply)

    def _give(self, reply: Reply) -> None:
        length = reply.headers.get("content-length")
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            if name != "content-length":
                self.send_header(name, value)
        self.send_header("content-length", length or str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
            if length is not None and int(length) != len(reply.body):
                self.close_connection = True
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815
