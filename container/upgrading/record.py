"""What an upgrade has done, in a file that is replaced whole."""

import fcntl
import json
import os
from pathlib import Path

from manifest import Refusal


class Record:
    """Locked while this process lives: one upgrade at a time."""

    def __init__(self, path, arguments):
        self.path, self.arguments = Path(path), arguments
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = open(f"{path}.lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refusal(f"{path}: another upgrade runs; wait for its end") from error
        # Steps that are done; the first of them is the check.
        self.step, self.files, self.controllers = 0, [], []
        # Contents of the two manifests, source first.
        self.texts = [None, None]
        self.is_begun = False
        if self.path.exists():
            self.read()

    def read(self):
        try:
            found = json.loads(self.path.read_text())
            arguments = found["arguments"]
            self.step, self.files, self.controllers = (
                found["step"], found["files"], found["controllers"])
            self.texts = [str(text) for text in found["manifests"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Refusal(f"{self.path}: damaged ({error!r}); look which of the two containers "
                          "serves, then remove the file") from error
        if arguments != self.arguments:
            raise Refusal(f"{self.path}: an upgrade is not finished: {' '.join(arguments)}; start "
                          "that one again, or give it with --abort")
        self.is_begun = True

    def begin(self, files, texts):
        self.files, self.texts, self.is_begun = files, texts, True
        self.write()

    def advance(self):
        self.step += 1
        self.write()

    def note(self, controllers):
        self.controllers = controllers
        self.write()

    def end(self):
        self.path.unlink(missing_ok=True)

    def write(self):
        temporary = f"{self.path}.new"
        with open(temporary, "w") as file:
            json.dump({"arguments": self.arguments, "step": self.step, "files": self.files,
                       "controllers": self.controllers, "manifests": self.texts}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
