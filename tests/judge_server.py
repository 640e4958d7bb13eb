"""A chat endpoint on 127.0.0.1 that answers as a test tells it to, and remembers what it was asked."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Judge:
    """answer(number, body) gives a str (the assistant's text) or a Reply, for request number 1, 2, ..."""

    def __init__(self, answer):
        self.answer = answer
        self.bodies, self.headers, self.times = [], [], []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()


class Reply:
    """Any other answer. body: bytes, or something for JSON; pieces: sent one by one with a pause between them."""

    def __init__(
        self, status=200, body=b"", kind="application/json", headers=(), pieces=None, silent=False, length=None
    ):
        self.status, self.kind, self.headers, self.silent = status, kind, dict(headers), silent
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.pieces, self.length = pieces, length


def chat(text, prompt_tokens=100, completion_tokens=10, finish_reason="stop"):
    """The body of a chat endpoint's answer."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
    }


@contextmanager
def judge_server(answer):
    """Gives (url, judge); the server is stopped afterwards, silent requests included."""
    judge = Judge(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                judge.bodies.append(body)
                judge.headers.append(dict(self.headers))
                judge.times.append(time.monotonic())
                number = len(judge.bodies)
            try:
                reply = self._answer(number, body)
                self._send(reply if isinstance(reply, Reply) else Reply(body=chat(reply)))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client had enough

        def _answer(self, number, body):
            """Counts how many are answered at once; a client that has its answer must not be among them."""
            with judge.lock:
                judge.at_once += 1
                judge.most_at_once = max(judge.most_at_once, judge.at_once)
            try:
                return judge.answer(number, body)
            finally:
                with judge.lock:
                    judge.at_once -= 1

        def _send(self, reply):
            if reply.silent:
                judge.closing.wait(30)
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Type": reply.kind, **reply.headers}.items():
                self.send_header(name, value)
            if reply.pieces is None:
                self.send_header("Content-Length", str(reply.length or len(reply.body)))
            self.end_headers()
            for piece in [reply.body] if reply.pieces is None else reply.pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if reply.pieces is not None and judge.closing.wait(0.05):
                    return

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions", judge
    finally:
        judge.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
