"""What tests with stock Linux guests share."""

import sys
import unittest
from pathlib import Path

from harness import EndToEnd

sys.path.insert(0, str(Path(__file__).resolve().parent / "guest"))
from machine import Machine, Unavailable, make_disk, prepare, prepare_client  # noqa: E402, F401


def require_guest(client=False):
    """For setUpModule: makes the guest, and the QEMU that reaches NVMe functions when it is to be a
    `client` of them. Where that cannot be, the module is skipped with the reason."""
    kind = "NVMe guest" if client else "guest"
    try:
        prepare()
        if client:
            prepare_client()
    except Unavailable as reason:
        print(f"skipped: no {kind}: {reason}")
        raise unittest.SkipTest(f"no {kind}: {reason}") from None


class GuestTest(EndToEnd):
    def boot_machine(self, folder, sockets, **options):
        """A machine that obeys its console; it ends with the test. One that has no device of ours
        and stands still before its kernel says anything is no matter of the test: it is started
        once more, and that is said."""
        machine = Machine(folder, sockets, **options)
        self.addCleanup(machine.stop)
        try:
            machine.wait_until_ready(60 if machine.is_plain else 120)
        except AssertionError as failure:
            if not machine.is_plain:
                raise
            print(f"a guest is started once more: {failure}", flush=True)
            machine.stop()
            machine = Machine(folder, sockets, **options)
            self.addCleanup(machine.stop)
            machine.wait_until_ready()
        return machine
