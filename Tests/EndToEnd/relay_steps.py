"""The steps of upgrades and faults in a guest with soft-RoCE devices: services whose controllers
reach host memory by RDMA alone, and what uses them, are started by the guest's shell."""

import contextlib
import io
import json
import signal
import sys
import time

from fault_steps import FaultSteps
from harness import ROOT, RPCFailure
from relay_guest import RelayGuest

sys.path.insert(0, str(ROOT / "rpc"))
from command_line import add_methods, load_methods, make_parser  # noqa: E402

PORTS = {"old": 9001, "new": 9002}


class GuestProgram:
    """In the background, as $NAME; its output goes to /tmp/NAME.out."""

    count = 0

    def __init__(self, machine, line):
        GuestProgram.count += 1
        self.machine, self.name = machine, f"p{GuestProgram.count}"
        machine.run(f"(exec env LD_LIBRARY_PATH=/product/lib /product/bin/{line}) "
                    f">/tmp/{self.name}.out 2>&1 & {self.name}=$!")

    @property
    def is_running(self):
        return self.machine.run(f"kill -0 ${self.name} 2>&1 && echo yes || true") == "yes"

    def kill(self, number=signal.SIGKILL):
        self.machine.run(f"kill -{int(number)} ${self.name} 2>&1 || true")

    def wait(self, seconds=120):
        """The exit code."""
        return int(self.machine.run(f"wait ${self.name}; echo $?", seconds).split()[-1])

    def output(self):
        return self.machine.run(f"cat /tmp/{self.name}.out")

    def finish(self):
        """Ends a load now, with what it measured."""
        self.kill(signal.SIGINT)
        code = self.wait()
        if code != 0:
            raise AssertionError(f"{self.name}: {code}\n{self.output()}")
        return json.loads(self.output().splitlines()[-1])


class GuestService:
    """Its process is that of /tmp/NAME.pid."""

    def __init__(self, test, name):
        self.test, self.name = test, name
        self.rpc = f"/tmp/run/{name}.sock"

    def call(self, method, params=None):
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params:
            request["params"] = params
        self.test.machine.send(f"echo '{json.dumps(request)}' | nc 127.0.0.1 {PORTS[self.name]}")
        _, text = self.test.machine.result()
        try:
            answer = json.loads(text)
        except ValueError:
            raise RPCFailure(f"{method}: no answer: {text}") from None
        if "error" in answer:
            raise RPCFailure(f"{method}: {json.dumps(answer['error'])}")
        return answer["result"]

    def snap(self, line, _=None):
        """A command line of snap_rpc.py, as harness.Service.snap."""
        parser, commands = make_parser("")
        add_methods(commands, load_methods(["snap", "spdk"]), line.split())
        arguments = parser.parse_args(line.split())
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            arguments.run(self, arguments)
        try:
            return json.loads(printed.getvalue())
        except ValueError:
            return printed.getvalue().strip()

    def socket(self):
        return self.test.socket("/tmp/run/dpu")

    def stop(self, number=signal.SIGTERM):
        self.test.machine.run(f"kill -{int(number)} $(cat /tmp/{self.name}.pid); "
                              f"wait ${self.name} || true")


class GuestSupervised:
    def __init__(self, test, name):
        self.test, self.name, self.service = test, name, GuestService(test, name)

    def end(self):
        """The service stays, and is not started again."""
        self.test.machine.run(f"touch /tmp/{self.name}.over")


class RelaySteps(FaultSteps, RelayGuest):
    vfs = 1
    patience = 90
    rate, longest = 300, 600

    def live(self, name, environment=None, times="once"):
        """A service, started `once` or again and `always`, as $NAME."""
        crash = "".join(f"export {key}={value}; " for key, value in (environment or {}).items())
        service = ("LD_LIBRARY_PATH=/product/lib /product/bin/snap_service "
                   f"-r /tmp/run/{name}.sock --rpc-tcp 127.0.0.1:{PORTS[name]} "
                   f"--rpc-log /tmp/{name}.rpc -m 0x1 --data-path rdma --rdma-device rxe0 "
                   f"--dpu {self.control}")
        condition = f"[ {times} = always ] && [ ! -e /tmp/{name}.over ]"
        self.machine.run(
            f"rm -f /tmp/{name}.over; ({crash}while :; do {service} & "
            f"echo $! >/tmp/{name}.pid; wait $!; code=$?; unset SOFTSNAP_CRASH; "
            f"{condition} || exit $code; done) >>/tmp/{name}.log 2>&1 & {name}=$!")
        return GuestService(self, name)

    def launch(self, name):
        service = self.live(name)
        self.wait_for_ready(name)
        return service

    def wait_for_ready(self, name):
        self.machine.run(f"for i in $(seq 600); do nc 127.0.0.1 {PORTS[name]} </dev/null "
                         f"2>/dev/null && break; sleep 0.1; done; [ $i -lt 600 ] || "
                         f"{{ cat /tmp/{name}.log; false; }}")

    def launch_dpu(self, environment=None):
        for key, value in (environment or {}).items():
            self.machine.run(f"export {key}={value}")
        self.start_dpu(f"--nvme-pfs 1 --nvme-vfs {self.vfs}")
        self.machine.run("unset SOFTSNAP_CRASH")

    def load(self, target, seconds, *arguments):
        words = " ".join(map(str, (*target, *arguments)))
        return GuestProgram(self.machine, f"snap_perf {words} --check --json --pauses 100000 "
                            f"--seconds {seconds}")

    def image(self):
        """A disk that outlives services."""
        self.machine.run("load null_blk nr_devices=1 memory_backed=1 bs=512 gb=1")
        return "/dev/nullb0"

    def move_image(self, is_there):
        names = ["/dev/nullb0", "/dev/gone"]
        source, target = reversed(names) if is_there else names
        self.machine.run(f"mv {source} {target}")

    def tool(self, source, destination, *options):
        return " ".join(["snap_live_upgrade", "-s", source.rpc, "-d", destination.rpc, *options])

    def upgrade(self, source, destination, *options):
        tool = GuestProgram(self.machine, self.tool(source, destination, *options))
        return tool.wait(300), tool.output(), ""

    def begin_upgrade(self, source, destination):
        return GuestProgram(self.machine, self.tool(source, destination))

    def supervise(self, name, environment=None):
        self.live(name, environment, "always")
        return GuestSupervised(self, name)

    def one_life(self, name, environment):
        self.live(name, environment)
        return int(self.machine.run(f"wait ${name}; echo $?").split()[-1]) - 128

    def daemon_comes_back(self):
        self.machine.run(
            "(while [ ! -e /tmp/dpu.over ]; do kill -0 $dpu 2>/dev/null || { "
            "LD_LIBRARY_PATH=/product/lib /product/bin/softdpu run --run /tmp/run/dpu --state "
            f"/tmp/run/state --rdma-device rxe0 --nvme-pfs 1 --nvme-vfs {self.vfs} & dpu=$!; }}; "
            "sleep 0.05; done) >/tmp/dpu_again.log 2>&1 & again=$!")
        return lambda: self.machine.run("touch /tmp/dpu.over; wait $again")

    def logs(self):
        return self.machine.run("cat /tmp/*.log")

    def clear(self):
        """Ends everything, for the next scenario in the same guest."""
        end = ("for i in snap_perf snap_live_upgrade snap_service softdpu; do "
               "for j in $(pidof $i); do kill -9 $j; done; done")
        # What starts them again ends before what tells it to goes.
        self.machine.run(f"touch /tmp/old.over /tmp/new.over /tmp/dpu.over; {end}; "
                         f"for i in $again $old $new $dpu; do wait $i || true; done; {end}; "
                         "again=; old=; new=; dpu=; "
                         "rm -rf /tmp/run/* /tmp/*.log /tmp/*.out /tmp/*.over; mkdir -p /tmp/run",
                         120)

    @contextlib.contextmanager
    def scenario(self, name):
        """One of several in a guest; says what it took."""
        begin = time.monotonic()
        with self.subTest(scenario=name):
            try:
                yield
            except (AssertionError, RPCFailure):
                print(f"--- {name}", self.machine.run("tail -n 15 /tmp/*.log"), sep="\n")
                raise
            finally:
                print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
                self.clear()
