"""What the fault matrix does at each place; see test_crash_points."""

import signal
import threading
import time

from harness import RPCFailure, Service
from upgrade_steps import UpgradeSteps


class Supervised:
    """A service that is started again whenever it dies."""

    def __init__(self, test, name, environment):
        self.test, self.name = test, name
        self.service = self.start(environment)
        self.is_over = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def start(self, environment=None):
        return self.test.keep(Service(
            self.test.folder, name=self.name, dpu=self.test.daemon, state=None,
            environment=environment))

    def watch(self):
        while not self.is_over.wait(0.02):
            if not self.service.process.is_running and not self.is_over.is_set():
                self.service = self.start()

    def end(self):
        self.is_over.set()
        self.watcher.join(30)


class FaultSteps(UpgradeSteps):
    # Seconds until a call must have succeeded.
    patience = 30
    # Requests a second of each load.
    rate = 3000

    def supervise(self, name, environment=None):
        supervised = Supervised(self, name, environment)
        self.addCleanup(supervised.end)
        return supervised

    def one_life(self, name, environment):
        """A service that ends by itself: the number of the signal."""
        dying = Service(self.folder, name=name, dpu=self.daemon, state=None, wait=False,
                        environment=environment)
        return -dying.process.process.wait(30)

    def daemon_comes_back(self):
        """Starts the software DPU again whenever it dies, until what is returned is called, or the
        test ends."""
        over = threading.Event()
        self.addCleanup(over.set)

        def watch():
            while not over.wait(0.02):
                if not self.daemon.process.is_running and not over.is_set():
                    self.launch_dpu()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()

        def leave():
            over.set()
            watcher.join(30)
        return leave

    def logs(self):
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    # From here on the same everywhere.

    def insist(self, call):
        """Repeats a call until it succeeds: its service may be about to come back."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return call()
            except (RPCFailure, AssertionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def upgrade_somehow(self, source, target, *options):
        def once():
            code, output, complaints = self.upgrade(source.service, target.service, *options)
            self.assertEqual(code, 0, output + complaints)
        self.insist(once)

    def is_suspended(self, service):
        listed = service.snap("virtio_blk_controller_list")
        return listed and listed[0]["state"] == "SUSPENDED"

    def die_at(self, place, who, count, way):
        crash = {"SOFTSNAP_CRASH": f"{place}:{count}"}
        self.launch_dpu(crash if who == "dpu" else None)
        old = self.supervise("old", crash if who == "old" and way != "recover" else None)
        new = self.supervise("new", crash if who == "new" else None)
        self.insist(lambda: self.furnish_again(old))
        loads = self.insist(lambda: self.loads(old.service, self.longest, "--rate", self.rate))
        if way == "recover":
            # Its next life dies while it comes back.
            old.end()
            old.service.stop(signal.SIGKILL)
            self.assertEqual(self.one_life("old", crash), signal.SIGKILL)
            old = self.supervise("old")
        self.insist(lambda: old.service.snap("virtio_blk_controller_suspend -c C")
                    if not self.is_suspended(old.service) else None)
        self.insist(lambda: old.service.snap("virtio_blk_controller_resume -c C")
                    if self.is_suspended(old.service) else None)
        options = [way] if way and way.startswith("--") else []
        leave = self.daemon_comes_back() if who == "dpu" else lambda: None
        self.upgrade_somehow(old, new, *options)
        self.insist(lambda: self.is_at(new.service, old.service))
        self.upgrade_somehow(new, old, *options)
        self.insist(lambda: self.is_at(old.service, new.service))
        # Places that every request passes are reached after some of them.
        self.insist(lambda: self.assertIn(f"crash point {place}", self.logs(), "never reached"))
        self.end_loads(loads)
        leave()
        old.end()
        new.end()

    def furnish_again(self, supervised):
        """Furnishes; what is there from before a death is left alone."""
        service = supervised.service
        real = service.snap

        def patient(line, stdin=None):
            try:
                return real(line, stdin)
            except RPCFailure as failure:
                done = ['"code": -17', "already", "is started, not suspended"]
                if any(text in str(failure) for text in done):
                    return None
                raise
        service.snap = patient
        try:
            self.furnish(service)
        finally:
            service.snap = real
