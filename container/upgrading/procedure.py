"""The steps of an upgrade, each of which may be done again: a run that was killed goes on."""

import json
import os
import sys
import time
from pathlib import Path

import checks
from manifest import Manifest, Refusal
from runtimes import Failure

LISTS = {"nvme_controller_list": "NVMe", "virtio_blk_controller_list": "virtio-blk"}
START_SECONDS = int(os.environ.get("SOFTSNAP_START_SECONDS", "60"))
SUFFIX = ".before-upgrade"
# snap_live_upgrade: everything is at the source again.
UNDONE = 1


class Divided(Failure):
    """Something may be at the destination: neither container is to be removed."""


class Procedure:
    """`record`: what is done, kept in a file; `say` prints a line."""

    def __init__(self, runtime, source, destination, record, say, root=Path("/")):
        self.runtime, self.say, self.record, self.root = runtime, say, record, root
        self.source, self.destination = map(Manifest, (source, destination), record.texts)
        self.steps = [("set aside init files", self.set_aside), ("deploy", self.deploy),
                      ("plan", self.plan), ("move", self.move), ("verify", self.verify),
                      ("remove the source", self.remove), ("restore init files", self.restore)]

    # MARK: All of it

    def check(self):
        """Before anything is changed. Returns the init files that are to be set aside."""
        checks.check_pair(self.source, self.destination)
        checks.check_machine(self.destination, self.root)
        if not self.runtime.has_image(self.destination.image):
            raise Refusal(f"{self.destination.path}: no image {self.destination.image} here; pull "
                          "or load it first")
        container = self.runtime.find(self.source)
        if not container:
            raise Refusal(f"pod {self.source.name} of {self.source.path} does not run; name the "
                          "manifest of the container that serves")
        if self.runtime.find(self.destination):
            raise Refusal(f"pod {self.destination.name} of {self.destination.path} runs already; "
                          "remove it, or choose another name")
        self.answers(container, self.source, 10)
        files = checks.shared_init_files(self.source, self.destination)
        if not self.record.is_begun:
            checks.check_set_aside(files, SUFFIX)
        return files

    def run(self):
        """Goes on where the record says. Returns the exit code."""
        if self.record.step == 0:
            self.record.begin(self.check(), [self.source.text, self.destination.text])
        else:
            self.say(f"going on with step {self.record.step + 1}, {self.name_of_next()}")
        while self.record.step < len(self.steps):
            name, body = self.steps[self.record.step]
            self.say(f"[{self.record.step + 1}/{len(self.steps)}] {name}")
            try:
                body()
            except Failure as failure:
                return self.give_up(name, failure)
            self.record.advance()
        self.record.end()
        self.say(f"done: {self.destination.name} serves, {self.source.name} is removed")
        return 0

    def name_of_next(self):
        return self.steps[min(self.record.step, len(self.steps) - 1)][0]

    def give_up(self, name, failure):
        """What failed before the source is to go leaves the source as it was."""
        self.say(f"{name}: {failure}")
        if isinstance(failure, Divided) or self.record.step > self.index("move"):
            self.say("both containers stay as they are; mend the cause, and start this again, or "
                     "go back with snap_live_upgrade and its ends exchanged")
            return 1
        self.undo()
        self.say(f"{self.source.name} goes on serving; nothing has been moved")
        return 1

    def abort(self):
        """Undoes a run that has not begun to move anything."""
        if not self.record.is_begun:
            raise Refusal("no upgrade has been begun")
        if self.record.step >= self.index("move"):
            raise Refusal(f"the upgrade has come to \"{self.name_of_next()}\", after which it goes "
                          "only on; start it again without --abort")
        self.undo()
        self.say("undone")
        return 0

    def index(self, name):
        return [step for step, _ in self.steps].index(name)

    def undo(self):
        if self.runtime.find(self.destination):
            self.runtime.remove(self.destination)
        self.restore()
        self.record.end()

    def show(self):
        """--dry-run."""
        files, tool, program = self.check(), self.tool(), self.runtime.program
        lines = [f"mv {path} {path}{SUFFIX}, and an empty one in its place" for path in files]
        lines += [self.runtime.shown(self.runtime.deploy_words(self.destination)),
                  f"{program} exec {self.destination.name} {' '.join(tool)} --dry-run",
                  f"{program} exec {self.destination.name} {' '.join(tool)}",
                  f"{program} exec … {' and '.join(LISTS)}, in both",
                  self.runtime.shown(self.runtime.remove_words(self.source))]
        for line in lines:
            self.say(f"would do: {line}")
        return 0

    # MARK: Steps

    def set_aside(self):
        for path in self.record.files:
            kept = Path(path + SUFFIX)
            if not kept.exists():
                os.link(path, kept)
            replace(path, "")

    def deploy(self):
        if not self.runtime.find(self.destination):
            self.runtime.deploy(self.destination)
        end = time.monotonic() + START_SECONDS
        container = None
        while not container:
            container = self.runtime.find(self.destination)
            if time.monotonic() > end:
                raise Failure(f"pod {self.destination.name} did not run within {START_SECONDS} s")
            time.sleep(0.2)
        self.answers(container, self.destination, START_SECONDS)

    def answers(self, container, manifest, seconds):
        """Returns when its service answers."""
        end = time.monotonic() + seconds
        while True:
            failure = "no answer"
            try:
                self.runtime.execute(container, "snap_rpc.py", "-s", manifest.socket, "-t", "5",
                                     "spdk_get_version", seconds=15)
                return
            except Failure as error:
                failure = error
            if time.monotonic() > end or not self.runtime.find(manifest):
                raise Failure(f"{manifest.name} does not answer at {manifest.socket}: {failure}\n"
                              f"its log ends with:\n{self.runtime.log(container)}")
            time.sleep(0.2)

    def tool(self):
        there = self.destination.inside(self.source.outside(self.source.socket))
        return ["snap_live_upgrade", "-s", there, "-d", self.destination.socket]

    def follow(self, *words):
        """Runs snap_live_upgrade at the destination. Returns its exit code."""
        container = self.runtime.find(self.destination)
        if not container:
            raise Failure(f"pod {self.destination.name} does not run any more")
        sys.stdout.flush()
        return self.runtime.follow(container, *self.tool(), *words)

    def plan(self):
        self.record.note(self.controllers(self.source))
        code = self.follow("--dry-run")
        if code != 0:
            raise Failure(f"snap_live_upgrade --dry-run ended with code {code}, as said above")

    def move(self):
        """It may have been begun before, or go on after its caller's death: who has the controllers
        is looked up, not concluded."""
        try:
            code = self.follow()
            if code == 0:
                return
            text = f"snap_live_upgrade ended with code {code}, as said above"
            left = code != UNDONE or self.controllers(self.destination)
            missing = set(self.record.controllers) - set(self.controllers(self.source))
        except Failure as failure:
            raise Divided(failure) from failure
        raise (Divided if left or missing else Failure)(text)

    def controllers(self, manifest):
        """Names of a service's controllers."""
        container = self.runtime.find(manifest)
        if not container:
            raise Failure(f"pod {manifest.name} does not run any more")
        found = []
        for method in LISTS:
            text = self.runtime.execute(container, "snap_rpc.py", "-s", manifest.socket, method)
            try:
                found += [one["ctrl_id"] for one in json.loads(text or "[]")]
            except (ValueError, KeyError, TypeError) as error:
                raise Failure(f"{method} of {manifest.name} says {text[:200]!r}") from error
        return sorted(found)

    def verify(self):
        there, left = self.controllers(self.destination), self.controllers(self.source)
        missing = sorted(set(self.record.controllers) - set(there))
        if missing or left:
            raise Failure(f"{self.destination.name} has no {', '.join(missing) or 'lack'}, and "
                          f"{self.source.name} still has {', '.join(left) or 'nothing'}")
        self.say(f"{len(there)} controllers moved, none left")

    def remove(self):
        if self.runtime.find(self.source):
            kept = self.runtime.remove(self.source)
            if kept:
                self.say(f"its manifest is kept as {kept}")
        end = time.monotonic() + START_SECONDS
        while self.runtime.find(self.source):
            if time.monotonic() > end:
                raise Failure(f"pod {self.source.name} still runs after {START_SECONDS} s")
            time.sleep(0.2)

    def restore(self):
        for path in self.record.files:
            if os.path.exists(path + SUFFIX):
                os.replace(path + SUFFIX, path)


def replace(path, text):
    """Another file in the place of one, at once, with its mode."""
    temporary = f"{path}.new"
    Path(temporary).write_text(text)
    os.chmod(temporary, os.stat(path).st_mode & 0o7777)
    os.replace(temporary, path)
