"""What a Kubernetes node has and no package brings: a kubelet for static pods, and crictl.

    node.py kubelet MANIFESTS LOGS      # runs the pods of the manifests in a folder
    node.py crictl ps -s running -q --name snap | exec -it ID COMMAND… | inspect ID | logs ID

Both speak CRI v1 to $CONTAINER_RUNTIME_ENDPOINT, by the stubs of PyPI's
container-runtime-interface-api; containerd.py runs them in an environment that has these.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import grpc
import yaml
from cri_api.v1 import api_pb2 as cri
from cri_api.v1 import api_pb2_grpc as stubs
from google.protobuf import json_format

SECONDS = 60
channel = grpc.insecure_channel(os.environ.get("CONTAINER_RUNTIME_ENDPOINT", ""))
runtime = stubs.RuntimeServiceStub(channel)


# MARK: kubelet

class Pod:
    """A sandbox and its one container, of the manifest that is in force."""

    def __init__(self, manifest, logs):
        self.manifest = manifest
        self.name = manifest["metadata"]["name"]
        self.spec = manifest["spec"]
        self.attempt = 0
        self.container = None
        folder = Path(logs) / self.name
        folder.mkdir(parents=True, exist_ok=True)
        self.sandbox_config = cri.PodSandboxConfig(
            metadata={"name": self.name, "uid": self.name, "namespace": "default"},
            log_directory=str(folder), labels={"io.kubernetes.pod.name": self.name},
            linux={"security_context": {
                "privileged": True,
                "namespace_options": {"network": cri.NODE}}})
        self.sandbox = runtime.RunPodSandbox(
            cri.RunPodSandboxRequest(config=self.sandbox_config), timeout=SECONDS).pod_sandbox_id

    def configuration(self):
        wanted = self.spec["containers"][0]
        paths = {volume["name"]: volume["hostPath"]["path"] for volume in self.spec["volumes"]}
        for path in paths.values():
            os.makedirs(path, exist_ok=True)
        limit = wanted.get("resources", {}).get("limits", {}).get("memory")
        return cri.ContainerConfig(
            metadata={"name": wanted["name"], "attempt": self.attempt},
            image={"image": wanted["image"]}, args=wanted.get("args", []),
            command=wanted.get("command", []),
            envs=[{"key": pair["name"], "value": pair["value"]} for pair in wanted["env"]],
            mounts=[{"host_path": paths[mount["name"]], "container_path": mount["mountPath"]}
                    for mount in wanted["volumeMounts"]],
            log_path=f"{wanted['name']}-{self.attempt}.log",
            labels={"io.kubernetes.pod.name": self.name,
                    "io.kubernetes.container.name": wanted["name"]},
            linux={"security_context": {"privileged": True,
                                        "namespace_options": {"network": cri.NODE}},
                   "resources": {"memory_limit_in_bytes": byte_count(limit) if limit else 0}})

    def look(self):
        """Starts its container, and again when it has ended."""
        if self.container:
            state = runtime.ContainerStatus(
                cri.ContainerStatusRequest(container_id=self.container), timeout=SECONDS)
            if state.status.state != cri.CONTAINER_EXITED:
                return
            runtime.RemoveContainer(
                cri.RemoveContainerRequest(container_id=self.container), timeout=SECONDS)
            self.attempt += 1
        self.container = runtime.CreateContainer(cri.CreateContainerRequest(
            pod_sandbox_id=self.sandbox, config=self.configuration(),
            sandbox_config=self.sandbox_config), timeout=SECONDS).container_id
        runtime.StartContainer(
            cri.StartContainerRequest(container_id=self.container), timeout=SECONDS)

    def end(self):
        if self.container:
            runtime.StopContainer(cri.StopContainerRequest(
                container_id=self.container, timeout=20), timeout=SECONDS)
        runtime.StopPodSandbox(
            cri.StopPodSandboxRequest(pod_sandbox_id=self.sandbox), timeout=SECONDS)
        runtime.RemovePodSandbox(
            cri.RemovePodSandboxRequest(pod_sandbox_id=self.sandbox), timeout=SECONDS)


def byte_count(text):
    for unit, factor in (("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)):
        if text.endswith(unit):
            return int(text[:-2]) * factor
    return int(text)


def kubelet(folder, logs):
    """As the kubelet does: every file of the folder is a manifest, whatever its name."""
    pods, ends = {}, []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(True))
    while not ends:
        found = {}
        for path in sorted(Path(folder).iterdir()):
            if not path.name.startswith("."):
                found[path] = path.read_text()
        for path, (text, pod) in list(pods.items()):
            if found.get(path) != text:
                pod.end()
                del pods[path]
        for path, text in found.items():
            if path not in pods:
                pods[path] = (text, Pod(yaml.safe_load(text), logs))
            pods[path][1].look()
        time.sleep(0.2)
    for _, pod in pods.values():
        pod.end()


# MARK: crictl

def containers(arguments):
    wanted = cri.ContainerFilter()
    if arguments.s == "running" or not arguments.a:
        wanted.state.state = cri.CONTAINER_RUNNING
    listed = runtime.ListContainers(
        cri.ListContainersRequest(filter=wanted), timeout=SECONDS).containers
    return [item for item in listed
            if not arguments.name or arguments.name in item.metadata.name]


def ps(arguments):
    listed = containers(arguments)
    if arguments.output == "json":
        print(json.dumps({"containers": [json_format.MessageToDict(item) for item in listed]}))
        return 0
    if not arguments.q:
        print(f"{'CONTAINER':16}{'STATE':12}{'NAME':16}{'POD ID':16}POD")
    for item in listed:
        state = cri.ContainerState.Name(item.state).split("_")[1].capitalize()
        print(item.id if arguments.q else
              f"{item.id[:13]:16}{state:12}{item.metadata.name:16}{item.pod_sandbox_id[:13]:16}"
              f"{item.labels['io.kubernetes.pod.name']}")
    return 0


def identifier(text):
    """Of the container that begins so."""
    listed = runtime.ListContainers(cri.ListContainersRequest(), timeout=SECONDS).containers
    for item in listed:
        if item.id.startswith(text):
            return item.id
    sys.exit(f"crictl: no container {text}")


def execute(arguments):
    answer = runtime.ExecSync(cri.ExecSyncRequest(
        container_id=identifier(arguments.id), cmd=arguments.command,
        timeout=arguments.timeout), timeout=(arguments.timeout or 3600) + 5)
    sys.stdout.buffer.write(answer.stdout)
    sys.stderr.buffer.write(answer.stderr)
    return answer.exit_code


def status(container):
    return runtime.ContainerStatus(cri.ContainerStatusRequest(
        container_id=identifier(container), verbose=True), timeout=SECONDS)


def logs(arguments):
    for line in open(status(arguments.id).status.log_path):
        print(line.split(" ", 3)[3], end="")
    return 0


def inspect_image(arguments):
    answer = stubs.ImageServiceStub(channel).ImageStatus(
        cri.ImageStatusRequest(image={"image": arguments.id}), timeout=SECONDS)
    if not answer.HasField("image"):
        return f"crictl: no image {arguments.id}"
    print(json_format.MessageToJson(answer))
    return 0


def inspect(arguments):
    print(json_format.MessageToJson(status(arguments.id)))
    return 0


def crictl(words):
    parser = argparse.ArgumentParser("crictl")
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("ps")
    listing.add_argument("-s", "--state", dest="s")
    for flag in ("-q", "-a", "-r"):
        listing.add_argument(flag, action="store_true")
    listing.add_argument("--name")
    listing.add_argument("-o", "--output")
    listing.set_defaults(run=ps)
    executing = commands.add_parser("exec")
    for flag in ("-i", "-t", "-s"):
        executing.add_argument(flag, action="store_true")
    executing.add_argument("--timeout", type=int, default=0)
    executing.add_argument("id")
    executing.add_argument("command", nargs=argparse.REMAINDER)
    executing.set_defaults(run=execute)
    for name, body in (("logs", logs), ("inspect", inspect), ("inspecti", inspect_image)):
        one = commands.add_parser(name)
        one.add_argument("id")
        one.set_defaults(run=body)
    arguments = parser.parse_args(words)
    try:
        return arguments.run(arguments)
    except grpc.RpcError as error:
        return f"crictl: {error.code().name}: {error.details()}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["kubelet"]:
        kubelet(*sys.argv[2:])
    elif sys.argv[1:2] == ["crictl"]:
        sys.exit(crictl(sys.argv[2:]))
    else:
        sys.exit(__doc__)
