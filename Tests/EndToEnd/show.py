#!/usr/bin/env python3
"""`make run`: one service, one disk, verified I/O, and the way to a virtual machine.

    Tests/EndToEnd/show.py [--once]

The commands are those of $SOFTSNAP_BIN. Serves until Ctrl-C, or ends after the I/O with --once.
"""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from harness import RPCFailure, Service, perf

CALLS = ["bdev_malloc_create -b Malloc0 256 512",
         "virtio_blk_controller_create --pf_id 0 --bdev Malloc0 --num_queues 4 --seg_max 64 "
         "--size_max 65536 --indirect_desc --vblk_id softsnap-1"]
QEMU = """\
qemu-system-x86_64 -M q35,memory-backend=mem -m 1024 \\
  -object memory-backend-memfd,id=mem,size=1024M,share=on \\
  -chardev socket,id=disk,path={socket},reconnect=1 \\
  -device vhost-user-blk-pci,chardev=disk,num-queues=4 \\
  …your kernel and disks…"""


def show(folder, is_once):
    print(f"start   snap_service -r {folder}/snap.sock (with a software DPU inside)")
    service = Service(folder)
    try:
        for call in CALLS:
            print(f"call    snap_rpc.py -s {service.rpc} {call}")
            print(f"        -> {service.snap(call)}")
        use(service)
        if not is_once:
            wait(service)
    finally:
        if service.process.is_running:
            service.stop()


def use(service):
    socket = service.socket()
    # The service polls on core 0; the driver polls too, so it needs another one.
    cores = sorted(os.sched_getaffinity(0))
    apart = ["--core", cores[-1]] if len(cores) > 1 else []
    for name, shape in (("split rings", []), ("packed rings", ["--packed", "--indirect"])):
        output = perf(socket, "--verify", 2000, "--seconds", 0, *shape)
        print(f"verify  {name}: {output.strip()}")
    for name, depth, pattern in (("4 KiB reads, depth 1", 1, "read"),
                                 ("4 KiB reads, depth 32", 32, "read"),
                                 ("4 KiB writes, depth 32", 32, "write")):
        lines = perf(socket, "--seconds", 2, "--depth", depth, "--rw", pattern,
                     *apart).splitlines()
        print(f"measure {name}: {'; '.join(lines)}")
    print(f"socket  {socket}")
    print("attach  " + QEMU.format(socket=socket))


def wait(service):
    print("serving until Ctrl-C", flush=True)
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while service.process.is_running:
        if signal.sigtimedwait(signals, 0.5):
            return
    raise AssertionError(f"the service ended:\n{service.process.text()}")


def main():
    folder = Path(tempfile.mkdtemp(prefix="softsnap-", dir="/tmp"))
    try:
        show(folder, "--once" in sys.argv)
        print("done")
        return 0
    except (AssertionError, RPCFailure) as failure:
        print(f"failed: {failure}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
