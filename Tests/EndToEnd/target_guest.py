"""Linux's own NVMe-oF target (nvmet) in a guest, on RDMA and TCP ports."""

from nvmet_guest import CONFIG, NQN


def serve_target(machine, ports, subsystems=(NQN,), disk="memory_backed"):
    """Serves one disk in each of `subsystems`, all on each of `ports`: (transport, address). A disk
    has 64 MiB of memory, or nothing behind it."""
    machine.run("load null_blk nr_devices=0 && load nvmet-tcp && load nvmet-rdma && "
                "{ mount -t configfs none /sys/kernel/config || true; }")
    for number, name in enumerate(subsystems):
        machine.run(f"C=/sys/kernel/config/nullb/nb{number}; mkdir $C && "
                    f"echo {int(disk == 'memory_backed')} > $C/memory_backed && "
                    "echo 64 > $C/size && echo 512 > $C/blocksize && echo 1 > $C/power")
        machine.run(f"S={CONFIG}/subsystems/{name}; mkdir $S && "
                    "echo 1 > $S/attr_allow_any_host; N=$S/namespaces/1; mkdir $N && "
                    f"echo /dev/nb{number} > $N/device_path && echo 1 > $N/enable")
    for number, (transport, address) in enumerate(ports, 1):
        machine.run(f"P={CONFIG}/ports/{number}; mkdir $P && echo {transport} > $P/addr_trtype && "
                    f"echo ipv4 > $P/addr_adrfam && echo {address} > $P/addr_traddr && "
                    "echo 4420 > $P/addr_trsvcid")
        for name in subsystems:
            serve_on(machine, number, name)


def serve_on(machine, port, name=NQN):
    machine.run(f"ln -s {CONFIG}/subsystems/{name} {CONFIG}/ports/{port}/subsystems/")


def drop_from(machine, port, name=NQN):
    """Ends every connection of the subsystem on a port, and accepts none, until `serve_on`."""
    machine.run(f"rm {CONFIG}/ports/{port}/subsystems/{name}")
