"""A small HTTP server that speaks SQS's JSON protocol and answers what a test tells it to."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DROP", "Reply", "Request", "Sqs", "failed", "refusal", "serving"]


@dataclass(frozen=True)
class Reply:
    """What to answer; a body of bytes is sent as it is."""

    body: dict[str, Any] | bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> list[dict[str, Any]]:
        assert isinstance(self.body, dict)
        found: list[dict[str, Any]] = self.body["Messages"]
        return found


@dataclass(frozen=True)
class Request:
    operation: str
    body: dict[str, Any]
    access_key_id: str


DROP = Reply({}, status=0)
"""The connection is closed without an answer."""

Answering = Reply | Callable[[Request], Reply]


def refusal(code: str, message: str = "no", *, status: int = 400, query_code: str = "") -> Reply:
    """A whole request is refused; `query_code` as in the header of query-compatible services."""
    headers = {"x-amzn-query-error": f"{query_code};Sender"} if query_code else {}
    return Reply({"__type": code, "message": message}, status, headers)


def failed(entry_id: str, code: str, message: str = "no", *, sender: bool) -> dict[str, Any]:
    """One entry under `Failed`."""
    return {"Id": entry_id, "Code": code, "Message": message, "SenderFault": sender}


class Sqs:
    """Answers every request with success unless a test has said otherwise for its next ones."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._next: defaultdict[str, deque[Answering]] = defaultdict(deque)
        self._always: dict[str, Answering] = {}

    def next(self, operation: str, *answers: Answering) -> None:
        """Answer the next requests of an operation so."""
        self._next[operation].extend(answers)

    def always(self, operation: str, answer: Answering) -> None:
        """Answer an operation so from now on."""
        self._always[operation] = answer

    def count(self) -> Counter[str]:
        return Counter(request.operation for request in self.requests)

    def of(self, operation: str) -> list[Request]:
        return [request for request in self.requests if request.operation == operation]

    def entries(self, operation: str) -> list[dict[str, Any]]:
        return [entry for request in self.of(operation) for entry in request.body["Entries"]]

    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            told = self._next[request.operation]
            chosen = told.popleft() if told else self._always.get(request.operation)
        if chosen is None:
            return self.success(request)
        return chosen if isinstance(chosen, Reply) else chosen(request)

    def success(self, request: Request) -> Reply:
        """What the service says when all is well and its queues are empty."""
        match request.operation:
            case "GetQueueUrl" | "CreateQueue":
                return Reply({"QueueUrl": f"{self.url}/queue/{request.body['QueueName']}"})
            case "SendMessageBatch":
                return Reply({"Successful": [sent(entry) for entry in request.body["Entries"]]})
            case "DeleteMessageBatch" | "ChangeMessageVisibilityBatch":
                return Reply({"Successful": [{"Id": e["Id"]} for e in request.body["Entries"]]})
            case _:
                return Reply({})


def sent(entry: dict[str, Any]) -> dict[str, Any]:
    md5 = hashlib.md5(entry["MessageBody"].encode()).hexdigest()
    return {"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": md5}


def messages(*bodies: str, first_token: int = 1) -> Reply:
    """Messages whose tokens are "token-1", "token-2", …"""
    return Reply(
        {
            "Messages": [
                {
                    "MessageId": f"m{number}",
                    "ReceiptHandle": f"token-{number}",
                    "Body": body,
                    "MD5OfBody": hashlib.md5(body.encode()).hexdigest(),
                    "Attributes": {"ApproximateReceiveCount": "1"},
                }
                for number, body in enumerate(bodies, start=first_token)
            ]
        }
    )


@contextmanager
def serving() -> Iterator[Sqs]:
    """Serve on a free port of this machine."""
    sqs = Sqs()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet: two of them wait for each other's acknowledgement.
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            credential = self.headers["Authorization"].partition("Credential=")[2]
            reply = sqs.answer(Request(operation, body, credential.partition("/")[0]))
            if reply is DROP:
                self.close_connection = True
                return
            raw = reply.body
            data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
            self.send_response(reply.status)
            for name, value in {
                "Content-Type": "application/x-amz-json-1.0",
                "Content-Length": str(len(data)),
                **reply.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    sqs.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield sqs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
