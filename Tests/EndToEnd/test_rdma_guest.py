"""What needs an RDMA device, in a guest that has one: the unit suites."""

import unittest

from guests import require_guest
from rdma_guest import BUNDLE, RDMAGuest

# They are skipped where there is no device.
DEVICE_SUITES = ("RDMA data", "RDMA connections", "RDMA devices", "RDMA polling")


def setUpModule():
    require_guest()


class Suites(RDMAGuest):
    """The test bundle itself, in the guest."""

    def run_suites(self, machine, prefix, pattern, seconds=600):
        """Output of the tests whose names match `pattern`. None may fail."""
        machine.send(f"{prefix} ours {BUNDLE.name} --testing-library swift-testing --no-parallel "
                     f"--filter '{pattern}'")
        code, output = machine.result(seconds)
        print(output, flush=True)
        self.assertEqual(code, 0)
        self.assertRegex(output, r"Test run with [1-9]\d* tests? .*passed")
        return output

    def test_pass_on_soft_roce(self):
        machine = self.boot_rdma([BUNDLE])
        # Two maps for each queue pair, so that the device gives no more of them at some point.
        machine.run("echo 8000 >/proc/sys/vm/max_map_count")
        output = self.run_suites(machine, "", "RDMATests")
        for suite in DEVICE_SUITES:
            self.assertIn(f'Suite "{suite}" passed', output)
        # With little memory to lock, and without the privilege to lock more.
        output = self.run_suites(
            machine, "ulimit -l 64; as='/tools/bin/setpriv --bounding-set -ipc_lock'",
            "RDMATests.*Locked memory")
        self.assertIn('Suite "Locked memory" passed', output)


if __name__ == "__main__":
    unittest.main()
