"""A service that answers what a test has told it, and keeps what it was asked."""

import json
import os
import socket
import tempfile
import threading
import time

SILENCE = object()


class FakeService:
    """Answers each request with the next of `answers`: bytes as they are, a tuple of them and
    of seconds to wait, else a result, an `Error`, or `SILENCE`, which waits until the client has
    gone."""

    def __init__(self, *answers, family=socket.AF_UNIX):
        self.answers = list(answers)
        self.requests = []
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_UNIX:
            self.address = os.path.join(tempfile.mkdtemp(), "rpc.sock")
            self.listener.bind(self.address)
        else:
            self.listener.bind(("127.0.0.1", 0))
            self.address, self.port = self.listener.getsockname()
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        if isinstance(self.address, str) and self.address.endswith("rpc.sock"):
            os.unlink(self.address)
            os.rmdir(os.path.dirname(self.address))

    def serve(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        text = ""
        with client:
            while True:
                data = client.recv(4096)
                if not data:
                    return
                text += data.decode()
                try:
                    request, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    continue
                text = text[end:].lstrip()
                if not self.answer(client, request):
                    return

    def answer(self, client, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else Error(-32601, "Method not found")
        if answer is SILENCE:
            client.recv(1)
            return False
        if isinstance(answer, bytes):
            client.sendall(answer)
            return False
        if isinstance(answer, tuple):
            all(self.send(client, part) for part in answer)
            return False
        reply = {"jsonrpc": "2.0", "id": request["id"]}
        if isinstance(answer, Error):
            reply["error"] = {"code": answer.code, "message": answer.message}
        else:
            reply["result"] = answer
        line = json.dumps(reply, separators=(",", ":")) + "\n"
        # In two parts, as a stream may split anywhere.
        client.sendall(line[:7].encode())
        client.sendall(line[7:].encode())
        return True

    def send(self, client, part):
        """Whether the client is there still."""
        if isinstance(part, float):
            time.sleep(part)
            return True
        try:
            client.sendall(part)
        except OSError:
            return False
        return True

    @property
    def calls(self):
        return [(request["method"], request.get("params")) for request in self.requests]


class Error:
    def __init__(self, code, message):
        self.code = code
        self.message = message
