"""Services of ours in a guest with soft-RoCE devices, whose controllers reach host memory by RDMA
alone. Hosts are snap_perf, in the same guest."""

import json
import re
import time

from harness import BINARIES, VUID, RPCFailure
from rdma_guest import RDMAGuest

NQN = "nqn.2026-11.test:relay"
UUID = "11111111-2222-3333-4444-555555555555"
NVME = "SOFTSNAP0001NVMES0D{}F{}"
PROGRAMS = ("snap_service", "softdpu", "snap_perf", "snap_live_upgrade")


class RelayGuest(RDMAGuest):
    def boot_relay(self):
        self.machine = self.boot_rdma([BINARIES / name for name in PROGRAMS], memory=1536)
        self.machine.run("mkdir -p /tmp/run")

    def start(self, program, name, arguments, ready="event=ready"):
        """In the background, as $NAME, by the command `$as`; its output goes to /tmp/NAME.log."""
        self.machine.run("(exec $as env LD_LIBRARY_PATH=/product/lib "
                         f"/product/bin/{program} {arguments}) >>/tmp/{name}.log 2>&1 & {name}=$!")
        self.wait_for(ready, name)

    def wait_for(self, text, name, seconds=60):
        self.machine.run(f"for i in $(seq {seconds * 10}); do grep -q '{text}' /tmp/{name}.log && "
                         f"break; kill -0 ${name} || break; sleep 0.1; done; "
                         f"grep -q '{text}' /tmp/{name}.log || {{ cat /tmp/{name}.log; false; }}",
                         seconds + 60)

    control = "/tmp/run/dpu/control/dpu.sock"

    def start_dpu(self, arguments=""):
        self.start("softdpu", "dpu", "run --run /tmp/run/dpu --state /tmp/run/state "
                   f"--rdma-device rxe0 {arguments}")

    def serve(self, name="a", arguments="-m 0x1", port=9001, path="rdma"):
        """A service whose data path is rdma, on rxe0, or mapped. It answers RPCs of `rpc` at
        `port`."""
        device = "--rdma-device rxe0" if path == "rdma" else ""
        self.start("snap_service", name,
                   f"-r /tmp/run/{name}.sock --rpc-tcp 127.0.0.1:{port} --rpc-log /tmp/{name}.rpc "
                   f"--data-path {path} {device} {arguments}")

    def rpc(self, method, port=9001, **parameters):
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if parameters:
            request["params"] = parameters
        output = self.machine.run(f"echo '{json.dumps(request)}' | nc 127.0.0.1 {port}")
        answer = json.loads(output)
        if "error" in answer:
            raise RPCFailure(answer["error"]["message"])
        return answer["result"]

    def make_disk(self, queues=1, name="B", function=0, port=9001, **more):
        self.rpc("bdev_malloc_create", port, name=name, num_blocks=32768, block_size=512)
        self.make_controller(queues, name, function, port, **more)

    def make_controller(self, queues=1, bdev="B", function=0, port=9001, **more):
        self.rpc("virtio_blk_controller_create", port, pf_id=function, bdev=bdev,
                 num_queues=queues, seg_max=32, size_max=65536, indirect_desc=True, **more)

    def make_namespace(self, port=9001, bdev="B", nqn=NQN, uuid=UUID):
        """A subsystem with one namespace on `bdev`, for a controller of `make_nvme`."""
        self.rpc("nvme_subsystem_create", port, nqn=nqn)
        self.rpc("nvme_namespace_create", port, bdev_name=bdev, nsid=1, nqn=nqn,
                 uuid=uuid)

    def make_nvme(self, name, queues=2, function=0, port=9001, nqn=NQN, **more):
        self.rpc("nvme_controller_create", port, ctrl_id=name, nqn=nqn, pf_id=function,
                 num_queues=queues, suspended=True, **more)
        self.rpc("nvme_controller_attach_ns", port, ctrl_id=name, nsid=1)
        if "live_update_listener" not in more:
            self.rpc("nvme_controller_resume", port, ctrl_id=name)

    def nvme_socket(self, run="/tmp/run/a.sock.run", index=0):
        return f"{run}/host/" + NVME.format(index // 8, index % 8) + ".sock"

    def verify_nvme(self, *arguments, socket=None):
        return self.verify(*arguments, way="--nvme", socket=socket or self.nvme_socket())

    def hand_over(self, turn, source, target, bdev="B"):
        """Controller C<turn> of the service at `source` becomes C<turn + 1> of that at `target`."""
        self.make_controller(2, bdev, port=target, ctrl_id=f"C{turn + 1}", suspended=True,
                             live_update_listener=True)
        self.rpc("virtio_blk_controller_suspend", source, ctrl_id=f"C{turn}", events_only=True)
        self.rpc("virtio_blk_controller_suspend", source, ctrl_id=f"C{turn}",
                 live_update_notifier=True, timeout_ms=5000)
        self.wait_for_state(target, f"C{turn + 1}", "STARTED")
        self.rpc("virtio_blk_controller_destroy", source, ctrl_id=f"C{turn}")

    def hand_over_nvme(self, turn, source, target, **more):
        """Controller N<turn> of the service at `source` becomes N<turn + 1> of that at `target`."""
        self.rpc("nvme_controller_suspend", source, ctrl_id=f"N{turn}", admin_only=True)
        self.make_nvme(f"N{turn + 1}", port=target, live_update_listener=True, **more)
        self.rpc("nvme_controller_suspend", source, ctrl_id=f"N{turn}",
                 live_update_notifier=True, timeout_ms=5000)
        self.wait_for_state(target, f"N{turn + 1}", "STARTED", "nvme")
        self.rpc("nvme_controller_destroy", source, ctrl_id=f"N{turn}", force=True)

    def upgrade_to_b(self, serve):
        """Everything of service a goes to b, which is started anew by `serve`."""
        self.machine.run("kill $b; wait $b || true; mv /tmp/b.log /tmp/old.log")
        serve()
        self.machine.run("ours snap_live_upgrade -s /tmp/run/a.sock -d /tmp/run/b.sock || "
                         "{ cat /tmp/*.log; false; }", 120)

    def wait_for_state(self, port, name, state, family="virtio_blk"):
        for _ in range(100):
            listed = self.rpc(f"{family}_controller_list", port, ctrl_id=name)[0]
            if listed["state"] == state:
                return
            time.sleep(0.1)
        self.fail(f"{name} is {listed}")

    def socket(self, run="/tmp/run/a.sock.run", index=0):
        return f"{run}/host/" + VUID.format(index // 8, index % 8) + ".sock"

    def perf(self, *arguments, way="--socket", socket=None, seconds=300):
        """The output of snap_perf, which must succeed."""
        words = " ".join(map(str, arguments))
        return self.machine.run(
            f"ours snap_perf {way} {socket or self.socket()} {words} || "
            "{ cat /tmp/*.log; dmesg | tail -n 5; false; }", seconds)

    def verify(self, *arguments, **options):
        output = self.perf("--verify", 200, "--seconds", 0, *arguments, **options)
        self.assertRegex(output, r"verified: [1-9]\d* bytes")
        return output

    def load(self, *arguments, depth=8, name="perf", way="--socket", socket=None,
             check="--check"):
        """snap_perf in the background, as $NAME, until `finish_loads`: however slow the guest is,
        no load ends before the test is done with it."""
        words = " ".join(map(str, arguments))
        self.machine.run("(exec env LD_LIBRARY_PATH=/product/lib /product/bin/snap_perf "
                         f"--seconds 3600 --depth {depth} {check} {words} {way} "
                         f"{socket or self.socket()}) >/tmp/{name}.log 2>&1 & {name}=$!")

    def check_loads(self, *names):
        self.machine.run(f"for load in {self.load_ids(names)}; do kill -0 $load; done || "
                         "{ cat /tmp/*.log; false; }")

    def finish_loads(self, *names, after=2):
        """They have seen no error, and use for some seconds what the last step has left."""
        # A load that has only just begun may not hear the first signal.
        self.machine.run(f"sleep {after}; for load in {self.load_ids(names)}; do "
                         "(while kill -INT $load; do sleep 1; done) 2>/dev/null & done")
        for name in names or ("perf",):
            self.machine.run(f"wait ${name} || {{ cat /tmp/*.log; dmesg | tail; false; }}", 240)
            self.assertIn("errors: 0", self.machine.run(f"cat /tmp/{name}.log"))

    def load_ids(self, names):
        return " ".join(f"${name}" for name in names or ("perf",))

    def figure(self, output, name):
        return int(re.search(rf"{name}: (\d+)", output).group(1))
