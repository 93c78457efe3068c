"""A W&B server on loopback: takes what W&B's real clients send, keeps it, and fails when told to.

It speaks as much of the protocol as wandb 0.31 uses for runs: GraphQL (viewer, resume status,
upsert, files, a run as the public API reads it), the file stream and uploads of files. Of the
hosted service's own behaviour it shows nothing but that.
"""

import gzip
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

KEY = "canary0123456789" + 24 * "7"  # stands for a key of W&B
TEAM = "team"


@dataclass
class ServedRun:
    """A W&B run as the server has it."""

    name: str
    about: dict[str, Any] = field(default_factory=dict)  # as clients upserted it
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)  # of its history, by offset
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = "running"

    @property
    def history(self) -> list[dict[str, Any]]:
        return [self.lines[offset] for offset in sorted(self.lines)]

    @property
    def steps(self) -> list[int]:
        """The step of each row, in the order in which a dashboard would draw them."""
        return [row["_step"] for row in self.history]

    def take(self, body: dict[str, Any]) -> None:
        """A post of the file stream. A line at an offset that is taken replaces what is there."""
        for name, part in body.get("files", {}).items():
            for offset, line in enumerate(part["content"], start=part["offset"]):
                if name == "wandb-history.jsonl":
                    self.lines[offset] = json.loads(line)
                elif name == "wandb-summary.json":
                    self.summary = json.loads(line)
        if body.get("complete"):
            self.state = "failed" if body.get("exitcode") else "finished"

    def as_resumed(self) -> dict[str, Any]:
        counts = {"historyLineCount": len(self.lines), "logLineCount": 0, "eventsLineCount": 0}
        said = {"displayName": self.name, "tags": [], "notes": "", "wandbConfig": '{"t": 1}'}
        return self._as_bucket() | counts | said

    def _as_bucket(self) -> dict[str, Any]:
        return {
            "id": f"id-{self.name}",
            "name": self.name,
            "config": self.about.get("config", "{}"),
            "summaryMetrics": json.dumps(self.summary),
            "historyTail": json.dumps([json.dumps(row) for row in self.history[-1:]]),
            "eventsTail": "[]",
        }

    def as_read(self) -> dict[str, Any]:
        keys = {"lastStep": self.steps[-1] if self.lines else -1, "sets": [], "keys": {}}
        fields = ("sweepName", "commit", "createdAt", "heartbeatAt", "description", "notes")
        return {
            **dict.fromkeys(fields),
            **self._as_bucket(),
            "tags": [],
            "displayName": self.name,
            "state": self.state,
            "group": self.about.get("groupName"),
            "jobType": self.about.get("jobType"),
            "readOnly": False,
            "systemMetrics": "{}",
            "historyLineCount": len(self.lines),
            "user": {"name": "me", "username": "me"},
            "historyKeys": keys,
            "projectId": 1,
        }


class WandbServer:
    """The server. ``with`` starts it; its faults are set while it runs."""

    def __init__(self) -> None:
        self.runs: dict[str, ServedRun] = {}
        self.status: int | None = None  # that every request is answered with
        self.failures_left = 0  # requests that are answered with 500
        self.silent = False  # takes requests and answers none
        self.deleted: set[str] = set()  # ids of runs that it takes no more
        self.answers_to_lose = 0  # of the file stream: it keeps the rows, and breaks the connection
        self.requests = 0
        self._released = Event()
        self._listening: _Listening | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes W&B's clients use it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def __enter__(self) -> Self:
        self.up()
        self.port = self._listening.server_port  # type: ignore[union-attr]
        return self

    def __exit__(self, *raised: object) -> None:
        self._released.set()
        self.down()

    def up(self) -> None:
        """Listen, on the same port as before."""
        self._listening = _Listening(("127.0.0.1", self.port), _Handler)
        self._listening.served = self
        Thread(target=self._listening.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._listening is not None:
            self._listening.gone = True
            self._listening.shutdown()
            self._listening.server_close()
            self._listening = None

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.requests += 1
        while self.silent and not self._released.wait(0.02):
            pass
        if self.status is not None:
            return self.status, {"error": "as it was told"}
        if self.failures_left > 0:
            self.failures_left -= 1
            return 500, {"error": "as it was told"}
        if path == "/graphql":
            asked = json.loads(body)
            if "upsertBucket" in asked["query"] and asked["variables"]["name"] in self.deleted:
                return 409, {"errors": [{"message": "run was previously created and deleted"}]}
            return 200, {"data": self._graphql(asked["query"], asked.get("variables") or {})}
        if path.endswith("/file_stream"):
            self.runs[path.split("/")[-2]].take(json.loads(body))
            if self.answers_to_lose > 0:
                self.answers_to_lose -= 1
                raise ConnectionError("as it was told")
        return 200, {}  # files that are uploaded, and what clients tell of themselves

    def _graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        entity = {"id": "e", "name": TEAM}
        if "upsertBucket" in query:
            return {"upsertBucket": self._upserted(given, entity)}
        if "RunResumeStatus" in query:
            run = self.runs.get(given["name"])
            model = {"id": "p", "name": given["project"], "entity": entity}
            return {"model": model | {"bucket": run and run.as_resumed()}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/store"} for name in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "project(" in query:
            run = self.runs.get(given["name"])
            return {"project": {"run": run and run.as_read()}}
        if "viewer" in query:
            about = {"id": "u", "entity": TEAM, "username": "me", "email": "", "flags": "{}"}
            return {"viewer": about | {"teams": {"edges": []}}}
        return {"serverInfo": {"features": []}}

    def _upserted(self, given: dict[str, Any], entity: dict[str, str]) -> dict[str, Any]:
        inserted = given["name"] not in self.runs
        run = self.runs.setdefault(given["name"], ServedRun(given["name"]))
        run.about |= {name: value for name, value in given.items() if value is not None}
        run.state = "running"
        project = {"id": "p", "name": run.about["project"], "entity": entity}
        said = {"displayName": run.about.get("displayName", ""), "historyLineCount": len(run.lines)}
        bucket = {"id": f"id-{run.name}", "name": run.name, "config": run.about.get("config", "{}")}
        return {
            "bucket": bucket | said | {"description": "", "sweepName": None, "project": project},
            "inserted": inserted,
        }


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    served: WandbServer
    gone = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed in the middle are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as real ones are
    server: _Listening

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status, answer = self.server.served.answer(self.path, body)
        if self.server.gone:
            self.close_connection = True
            return
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass
