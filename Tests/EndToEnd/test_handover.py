"""Live upgrade: functions go from one service to another while their drivers work."""

import json
import os
import signal
import socket
import statistics
import subprocess
import time
import unittest

from harness import BINARIES, DPU, VUID, EndToEnd, Service, perf
from host import act, configure

SOAK = os.environ.get("SOFTSNAP_SOAK") == "1"
NVME = "SOFTSNAP0001NVMES0D{}F{}"
NQN = "nqn.2026-11.io.softsnap:upgrade"
UUID = "11111111-2222-3333-4444-555555555555"


def call(service, method, **params):
    """One call without a client process in between; its result."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(service.rpc))
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params:
            request["params"] = params
        connection.sendall(json.dumps(request).encode())
        text = b""
        while True:
            part = connection.recv(65536)
            if not part:
                raise AssertionError(f"{method}: the service has closed the connection")
            text += part
            try:
                answer = json.loads(text)
                break
            except ValueError:
                continue
    if "error" in answer:
        raise AssertionError(f"{method} {params}: {answer['error']}")
    return answer["result"]


class Load:
    """A polling driver that writes and verifies until it is told to stop."""

    def __init__(self, test, *arguments):
        self.process = subprocess.Popen(
            [str(BINARIES / "snap_perf"), "--verify", "2048", "--again", "--seconds", "0",
             *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.test = test
        test.addCleanup(lambda: self.process.poll() is None and self.process.kill())
        test.addCleanup(self.process.stdout.close)

    def check(self):
        if self.process.poll() is not None:
            self.test.fail(f"the load has ended: {self.process.stdout.read()}")

    def stop(self):
        output, _ = self.process.communicate(timeout=60)
        self.test.assertEqual(self.process.returncode, 0, output)
        self.test.assertIn("verified:", output)


class Upgrade(EndToEnd):
    """Two services on one software DPU, and a function that changes between them."""

    def pair(self, *arguments, **options):
        self.daemon = self.keep(DPU(self.folder, *arguments, **options))
        return [self.keep(Service(self.folder, name=name, dpu=self.daemon))
                for name in ("first", "second")]

    def disk(self, byte_count=16 << 20):
        path = self.folder / "disk.img"
        with open(path, "wb") as file:
            file.truncate(byte_count)
        return str(path)

    def gap(self, service, kind, before, seconds=3):
        """The next pause of `kind` after `before`, and how many there are; None without one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for entry in call(service, "softsnap_gap_histogram_get"):
                if entry["kind"] == kind and entry["count"] > before:
                    return entry["last_us"], entry["count"]
            time.sleep(0.005)
        return None, before

    def figures(self, name, gaps):
        """Prints what a series of pauses comes to, in milliseconds."""
        gaps.sort()
        p99 = gaps[min(len(gaps) - 1, len(gaps) * 99 // 100)]
        for figure, value in (("p50", statistics.median(gaps)), ("p99", p99),
                              ("max", gaps[-1])):
            print(f"figure: upgrade.{name}.gap_{figure} {value / 1000:.3f} ms")

    def state(self, service, method, name):
        entry = next(c for c in call(service, method) if c["ctrl_id"] == name)
        return entry["state"], entry.get("live_update")

    def wait_for_state(self, service, method, name, state, seconds=10):
        end = time.monotonic() + seconds
        while self.state(service, method, name)[0] != state:
            self.assertLess(time.monotonic(), end, f"{name} is not {state}")
            time.sleep(0.005)

    def rounds(self, services, count, change, kind):
        """Lets `change` move the function back and forth; the pauses it took."""
        gaps, seen, open_files = [], {id(service): 0 for service in services}, []
        source, target = services
        for turn in range(count):
            change(source, target, turn)
            gap, seen[id(target)] = self.gap(target, kind, seen[id(target)], 0.5)
            if gap is not None:
                gaps.append(gap)
            self.load.check()
            open_files.append([service.descriptor_count() for service in services])
            source, target = target, source
        # Once both have had the function; a controller has up to ten.
        for first, last in zip(open_files[2], open_files[-1]):
            self.assertLess(last, first + 10, "descriptors of controllers that have gone")
        self.assertGreater(len(gaps), count // 2, "most changes find requests waiting")
        return gaps


class VirtioBlk(Upgrade):
    LIST = "virtio_blk_controller_list"
    SHAPE = {"num_queues": 2, "queue_size": 256, "seg_max": 16, "size_max": 65536,
             "indirect_desc": True, "bdev": "B"}

    def malloc(self, services):
        for service in services:
            call(service, "bdev_malloc_create", name="B", num_blocks=65536, block_size=512,
                 uuid=UUID)

    def create(self, service, name, **more):
        call(service, "virtio_blk_controller_create", ctrl_id=name, **self.SHAPE,
             **{"pf_id": 0, **more})

    def hand_over(self, source, target, turn):
        self.create(target, f"C{turn + 1}", suspended=True, live_update_listener=True)
        call(source, "virtio_blk_controller_suspend", ctrl_id=f"C{turn}", events_only=True)
        call(source, "virtio_blk_controller_suspend", ctrl_id=f"C{turn}",
             live_update_notifier=True, timeout_ms=5000)
        self.wait_for_state(target, self.LIST, f"C{turn + 1}", "STARTED")
        self.assertEqual(self.state(source, self.LIST, f"C{turn}"), ("SUSPENDED", "handed_over"))
        call(source, "virtio_blk_controller_destroy", ctrl_id=f"C{turn}")

    def recreate(self, source, target, turn):
        call(source, "virtio_blk_controller_destroy", ctrl_id=f"C{turn}")
        self.create(target, f"C{turn + 1}")

    def back_and_forth(self, change, kind, count, name):
        services = self.pair()
        self.malloc(services)
        self.create(services[0], "C0")
        self.load = Load(self, "--socket", services[0].socket(), "--queues", 2)
        gaps = self.rounds(services, count, change, kind)
        self.load.stop()
        self.figures(name, gaps)

    def test_listener_and_notifier(self):
        self.back_and_forth(self.hand_over, "handover", 500 if SOAK else 20, "handover")

    def test_delete_and_create(self):
        self.back_and_forth(self.recreate, "reattach", 500 if SOAK else 10, "recreate")

    def test_the_documented_commands_in_their_order(self):
        """Notifier first, then the listener, by the command line; the file is shared."""
        first, second = self.pair()
        disk = self.disk()
        for service in (first, second):
            service.snap(f"bdev_aio_create {disk} B 512")
        create = ("virtio_blk_controller_create --vhca_id {} --ctrl {} --bdev B --num_queues 2 "
                  "--queue_size 256 --seg_max 16 --size_max 65536 --vblk_id S --indirect_desc")
        vhca = first.snap("emulation_function_list --all")[0]["vhca_id"]
        first.snap(create.format(vhca, "C0"))
        self.load = Load(self, "--socket", first.socket())
        source, target = first, second
        for turn in range(3):
            source.snap(f"virtio_blk_controller_suspend -c C{turn} --events_only")
            source.snap(f"virtio_blk_controller_suspend -c C{turn} -t 2000 -lu")
            target.snap(create.format(vhca, f"C{turn + 1}")
                        + " --suspended --live_update_listener")
            self.wait_for_state(target, self.LIST, f"C{turn + 1}", "STARTED")
            self.wait_for_state(source, self.LIST, f"C{turn}", "SUSPENDED")
            self.assert_refused(source, f"virtio_blk_controller_resume -c C{turn}", -22,
                                f'handed over to controller "C{turn + 1}"')
            source.snap(f"virtio_blk_controller_destroy -c C{turn}")
            self.load.check()
            source, target = target, source
        self.load.stop()

    def test_an_offer_that_nobody_takes_ends(self):
        first, _ = self.pair()
        self.malloc([first])
        self.create(first, "C0")
        self.load = Load(self, "--socket", first.socket())
        first.snap("virtio_blk_controller_suspend -c C0 -t 20 -lu")
        self.assertEqual(self.state(first, self.LIST, "C0"), ("SUSPENDED", "offered"))
        self.wait_for_state(first, self.LIST, "C0", "STARTED")
        first.process.wait_for("event=hand_over_abandoned controller=C0")
        self.load.stop()

    def test_a_listener_that_nobody_notifies_ends(self):
        first, second = self.pair()
        self.malloc([first, second])
        self.create(first, "C0")
        self.create(second, "C1", live_update_listener=True, listener_timeout_ms=100)
        self.assertEqual(self.state(second, self.LIST, "C1"), ("SUSPENDED", "listener"))
        self.wait_for_state(second, self.LIST, "C1", "STOPPED")
        self.assertEqual(self.state(second, self.LIST, "C1"), ("STOPPED", "expired"))
        second.snap("virtio_blk_controller_destroy -c C1")
        perf(first.socket(), "--verify", 200, "--seconds", 0)

    def test_killed_sources_are_followed_by_their_listeners(self):
        first, second = self.pair()
        self.malloc([first, second])
        self.create(first, "C0")
        self.load = Load(self, "--socket", first.socket(), "--queues", 2)
        source, target = first, second
        for turn in range(4):
            self.create(target, f"C{turn + 1}", live_update_listener=True)
            time.sleep(0.2)
            self.assertEqual(source.stop(signal.SIGKILL), -9)
            self.wait_for_state(target, self.LIST, f"C{turn + 1}", "STARTED")
            self.load.check()
            name = source.rpc.stem
            source, target = target, self.keep(
                Service(self.folder, name=name, dpu=self.daemon))
            self.malloc([target])
        self.load.stop()
        self.assertEqual(self.gap(source, "recovery", 0)[1], 1)

    def test_pf_and_vfs_by_deletion_and_creation(self):
        """The documented algorithm: the PF, then its VFs, while their drivers work."""
        configure(self.folder, SRIOV_EN=1, VIRTIO_BLK_EMULATION_NUM_VF=2,
                  VIRTIO_BLK_EMULATION_NUM_VF_MSIX=4)
        first, second = self.pair()
        disk = self.disk()
        for service in (first, second):
            service.snap(f"bdev_aio_create {disk} B 512")
        create = ("virtio_blk_controller_create --pf_id 0 {} --ctrl {} --bdev B "
                  "--num_queues 2 --queue_size 256 --seg_max 16 --size_max 65536")
        functions = (("", "PF"), ("--vf_id 0", "V0"), ("--vf_id 1", "V1"))
        for where, name in functions:
            first.snap(create.format(where, name))
        act(first, "sriov", "0", "2")
        self.load = Load(self, "--socket", first.host / (VUID.format(0, 0) + "VF1.sock"))
        for source, target in ((first, second), (second, first)):
            for where, name in functions:
                source.snap(f"virtio_blk_controller_destroy -c {name} --force")
                target.snap(create.format(where, name))
                self.load.check()
        self.load.stop()


class NVMe(Upgrade):
    LIST = "nvme_controller_list"

    def chain(self, service, disk):
        call(service, "bdev_aio_create", name="B", filename=disk, block_size=512)
        call(service, "nvme_subsystem_create", nqn=NQN)
        call(service, "nvme_namespace_create", bdev_name="B", nsid=1, nqn=NQN, uuid=UUID)

    def create(self, service, name, **more):
        call(service, "nvme_controller_create", ctrl_id=name, nqn=NQN, pf_id=0, num_queues=4,
             suspended=True, **more)
        call(service, "nvme_controller_attach_ns", ctrl_id=name, nsid=1)

    def hand_over(self, source, target, turn):
        call(source, "nvme_controller_suspend", ctrl_id=f"N{turn}", admin_only=True)
        self.create(target, f"N{turn + 1}", live_update_listener=True)
        call(source, "nvme_controller_suspend", ctrl_id=f"N{turn}", live_update_notifier=True,
             timeout_ms=5000)
        self.wait_for_state(target, self.LIST, f"N{turn + 1}", "STARTED")
        self.assertEqual(self.state(source, self.LIST, f"N{turn}"), ("SUSPENDED", "handed_over"))
        call(source, "nvme_controller_detach_ns", ctrl_id=f"N{turn}", nsid=1)
        call(source, "nvme_controller_destroy", ctrl_id=f"N{turn}")

    def recreate(self, source, target, turn):
        call(source, "nvme_controller_suspend", ctrl_id=f"N{turn}")
        call(source, "nvme_controller_destroy", ctrl_id=f"N{turn}", force=True)
        self.create(target, f"N{turn + 1}")
        call(target, "nvme_controller_resume", ctrl_id=f"N{turn + 1}")

    def back_and_forth(self, change, kind, count, name, *arguments):
        services = self.pair("--nvme-pfs", 1, *arguments, pfs=0)
        disk = self.disk()
        for service in services:
            self.chain(service, disk)
        self.create(services[0], "N0")
        call(services[0], "nvme_controller_resume", ctrl_id="N0")
        self.load = Load(self, "--nvme", services[0].host / (NVME.format(0, 0) + ".sock"),
                         "--queues", 2)
        gaps = self.rounds(services, count, change, kind)
        self.load.stop()
        self.figures(name, gaps)

    def test_listener_and_notifier(self):
        self.back_and_forth(self.hand_over, "handover", 500 if SOAK else 20, "nvme_handover",
                            "--nvme-doorbells", "mapped")

    def test_delete_and_create(self):
        self.back_and_forth(self.recreate, "reattach", 500 if SOAK else 10, "nvme_recreate")

    def test_a_notifier_without_a_listener_is_refused(self):
        first, _ = self.pair("--nvme-pfs", 1, pfs=0)
        self.chain(first, self.disk())
        self.create(first, "N0")
        call(first, "nvme_controller_resume", ctrl_id="N0")
        self.assert_refused(first, "nvme_controller_suspend -c N0 --live_update_notifier "
                            "--timeout_ms 20", -19, "no listener waits", "goes on serving")
        self.assertEqual(self.state(first, self.LIST, "N0"), ("STARTED", None))


if __name__ == "__main__":
    unittest.main()
