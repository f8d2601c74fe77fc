#!/usr/bin/env python3
"""Pretends to be podman, docker or crictl, by the name it is called by.

What runs, and which controllers each service has, is state.json of $FAKE. `fail` there names what
fails: deploy, answer, move, half_move, or it is the code with which a move of one controller ends.
$KILL_AT=N the N-th call kills its caller first.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["FAKE"])
SERVICES = {"/run/softdpu/rpc/snap.sock": "snap", "/run/softdpu/rpc/snap-new.sock": "snap-new"}


def main(words):
    lock = open(FOLDER / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    state = json.loads((FOLDER / "state.json").read_text())
    state["calls"].append(words)
    if os.environ.get("KILL_AT") == str(len(state["calls"])):
        os.kill(os.getppid(), signal.SIGKILL)
    code = answer(state, words, Path(sys.argv[0]).name)
    (FOLDER / "new").write_text(json.dumps(state))
    os.replace(FOLDER / "new", FOLDER / "state.json")
    return code


def running(state, name):
    folder = Path(state["kubelet"])
    texts = [path.read_text() for path in folder.glob("[!.]*.yaml")]
    return name in state["pods"] or any(f"metadata:\n  name: {name}\n" in one for one in texts)


def answer(state, words, runtime):
    if words[0] == "ps":
        return ps(state, words, runtime)
    if words[0] in ("image", "inspecti"):
        return 0 if "none" not in words[-1] else 1
    if words[0] == "logs":
        print("its last line")
        return 0
    if words[0] == "exec":
        return execute(state, words[1], words[2:])
    if words[0] in ("run", "play"):
        name = words[words.index("--name") + 1] if words[0] == "run" else pod_of(words[-1])
        if "--down" in words:
            state["pods"].remove(name)
        elif state["fail"] == "deploy":
            print("no room")
            return 125
        else:
            state["pods"].append(name)
        return 0
    if words[0] in ("stop", "rm"):
        if words[0] == "rm" and words[-1] in state["pods"]:
            state["pods"].remove(words[-1])
        return 0
    sys.exit(f"fake: {words}")


def pod_of(path):
    lines = Path(path).read_text().split("metadata:\n  name: ")
    return lines[1].split("\n")[0]


def ps(state, words, runtime):
    names = [name for name in SERVICES.values() if running(state, name)]
    if runtime == "crictl":
        print(json.dumps({"containers": [
            {"id": name, "labels": {"io.kubernetes.pod.name": name}} for name in names]}))
        return 0
    wanted = next(word for word in words if word.startswith("name=^"))[len("name=^"):-1]
    for name in names:
        if wanted == (f"{name}-snap" if runtime == "podman" else name):
            print(name)
    return 0


def execute(state, container, words):
    if words[0] == "snap_live_upgrade":
        return move(state, words)
    name = SERVICES[words[words.index("-s") + 1]]
    assert name == container, (name, container)
    if state["fail"] == "answer" and name == "snap-new":
        print("nobody answers")
        return 1
    if state["fail"] == "hang":
        time.sleep(30)
    if words[-1] == "spdk_get_version":
        print("{}")
    else:
        kind = "NVMe" if words[-1].startswith("nvme") else "VBlk"
        print(json.dumps([{"ctrl_id": one} for one in state["controllers"].get(name, [])
                          if one.startswith(kind)]))
    return 0


def move(state, words):
    source, destination = SERVICES[words[2]], SERVICES[words[4]]
    if "--dry-run" in words:
        print("plan")
        return 0
    if state["fail"] == "move":
        print("no memory; rolled back")
        return 1
    moved = state["controllers"][source]
    if isinstance(state["fail"], int):
        state["controllers"] = {source: moved[1:], destination: moved[:1]}
        return state["fail"]
    kept = moved[:1] if state["fail"] == "half_move" else []
    state["controllers"] = {source: kept, destination: [
        *state["controllers"].get(destination, []), *moved[len(kept):]]}
    print("moved")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
