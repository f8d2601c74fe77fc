"""What a service is told when it has started: the init files, by the clients as they are."""

import json
import subprocess
import sys
from pathlib import Path

from settings import Refusal

BIN = Path("/opt/nvidia/nvda_snap/bin")
# One answer may take as long as a remote target does.
ANSWER_SECONDS = 300


def carry_out(settings, directory=BIN):
    """Carries out the init files in SNAP's order: JSON, SPDK's lines, SNAP's lines.

    What is there already, exactly so, is left alone, so a restarted service gets the same files.
    Refusal: a line failed, and the settings do not say to go on.
    """
    if settings.json_file:
        carry_out_json(settings, directory)
    for path, client in ((settings.spdk_file, "spdk_rpc.py"), (settings.snap_file, "snap_rpc.py")):
        if path:
            command = [str(directory / client), "-s", settings.socket, "-t", str(ANSWER_SECONDS),
                       "--init-file", path]
            if settings.keeps_going:
                command.append("--keep-going")
            if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
                give_up(path, settings)


def give_up(path, settings):
    """A line failed: its text and the error are in the log already."""
    if not settings.keeps_going:
        raise Refusal(f"{path}: the line above failed, and the start ends with it; mend the line, "
                      "or set SOFTSNAP_INIT_KEEP_GOING=1")


def carry_out_json(settings, directory):
    """The calls of a file in the form of SPDK's save_config."""
    path = settings.json_file
    try:
        calls = [call for subsystem in json.loads(Path(path).read_text())["subsystems"]
                 for call in subsystem["config"] or []]
        names = [call["method"] for call in calls]
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{path}: no configuration as save_config writes it ({error!r}); make it "
                      "again, or set SPDK_RPC_INIT_CONF_JSON to the empty string") from error
    sys.path.insert(0, str(directory))
    from client import Applying, Client, RPCFailure
    client = Applying(Client(settings.socket, timeout=ANSWER_SECONDS))
    for name, call in zip(names, calls):
        try:
            client.call(name, call.get("params"))
        except RPCFailure as failure:
            print(f"{path}: {name}\n{failure}", flush=True)
            give_up(path, settings)
