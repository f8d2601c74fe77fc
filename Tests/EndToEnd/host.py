"""The card's operators: `softdpu host` acts in the host, `softdpu mlxconfig` sets the firmware."""

import subprocess

from harness import BINARIES


def host(service, *arguments):
    """Acts on the card of `service`; returns (exit code, what it printed, what it complained)."""
    done = subprocess.run(
        [str(BINARIES / "softdpu"), "host", *map(str, arguments),
         "--run", str(service.host.parent)],
        capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def act(service, *arguments):
    """An act that must succeed."""
    code, output, error = host(service, *arguments)
    assert code == 0, f"host {arguments}: {error}"
    return output


def functions(service, *arguments):
    """All functions of the service's card, by VUID."""
    listed = {}
    for pf in service.snap(["emulation_function_list", *(arguments or ("--all",))]):
        listed[pf["vuid"]] = pf
        for vf in pf["vfs"]:
            listed[vf["vuid"]] = vf
    return listed


def configure(folder, **settings):
    """Boots the card of `folder` with these firmware settings."""
    pairs = [f"{key}={value}" for key, value in settings.items()]
    run(folder, "mlxconfig", "-d", "0000:03:00.0", "-y", "set", *pairs)
    power_cycle(folder)


def power_cycle(folder):
    """A cold boot of the card, whether its software DPU runs or not."""
    run(folder, "power-cycle")


def run(folder, *arguments):
    done = subprocess.run(
        [str(BINARIES / "softdpu"), *arguments, "--state", str(folder / "state")],
        capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
