#!/usr/bin/env python3
"""Calls the methods of SPDK, as its rpc.py does, and saves and loads configurations.

    spdk_rpc.py bdev_malloc_create -b Malloc0 64 512
    spdk_rpc.py save_config > config.json
    spdk_rpc.py load_config -j config.json
"""

import json
import os
import sys

from client import RPCFailure
from command_line import add_methods, load_methods, main, make_parser


def save_config(client, args):
    """Prints what rebuilds all subsystems, or the chosen ones and those they depend on."""
    subsystems = client.call("framework_get_subsystems")
    needs = {}
    for entry in subsystems:
        name = entry["subsystem"]
        needs[name] = {name}.union(*(needs[other] for other in entry["depends_on"]))
    chosen = set(needs)
    if args.subsystems is not None:
        names = args.subsystems.split(",")
        unknown = [name for name in names if name not in needs]
        if unknown:
            raise RPCFailure(f"Unknown subsystem: {', '.join(unknown)}")
        chosen = set().union(*(needs[name] for name in names))
    saved = [save(client, entry["subsystem"], args) for entry in subsystems
             if entry["subsystem"] in chosen]
    write({"subsystems": saved}, args.indent)


def save_subsystem_config(client, args):
    write(save(client, args.name, args), args.indent)


def save(client, name, args):
    params = {"name": name, "with_batches": args.with_batches}
    return {"subsystem": name, "config": client.call("framework_get_config", params)}


def write(value, indent):
    print(json.dumps(value, indent=indent if indent >= 0 else None))


def load_config(client, args):
    """Sends what the state of the service allows, initializes it, sends the rest."""
    subsystems = [entry for entry in read(args.json_conf)["subsystems"] if entry["config"]]
    known = methods(client, args.include_aliases)
    if not subsystems and "framework_start_init" in known:
        client.call("framework_start_init")
        return
    for entry in subsystems:
        check(entry["config"], known)
    is_moving = True
    while is_moving and subsystems:
        allowed = methods(client, args.include_aliases, current=True)
        is_moving = False
        for entry in subsystems:
            count = len(entry["config"])
            entry["config"] = send(client, entry["config"], allowed)
            is_moving = is_moving or len(entry["config"]) < count
        subsystems = [entry for entry in subsystems if entry["config"]]
        if "framework_start_init" in allowed:
            client.call("framework_start_init")
            is_moving = True
    if subsystems:
        print("Some configs were skipped because the RPC state that can call them passed over.")


def load_subsystem_config(client, args):
    config = read(args.json_conf)["config"]
    if not config:
        return
    check(config, methods(client))
    if send(client, config, methods(client, current=True)):
        print("Some configs were skipped because they cannot be called in the current RPC state.")


def read(source):
    """A file, or the JSON itself; standard input when nothing is named."""
    try:
        if source is None:
            return json.load(sys.stdin)
        if os.path.exists(source):
            with open(source, encoding="utf-8") as file:
                return json.load(file)
        return json.loads(source)
    except ValueError as error:
        raise RPCFailure(f"The configuration is no JSON: {error}") from error


def methods(client, include_aliases=False, current=False):
    params = {"include_aliases": include_aliases}
    if current:
        params["current"] = True
    return client.call("rpc_get_methods", params)


def calls(entry):
    """An entry is one call, or a list of calls that belong together."""
    return entry if isinstance(entry, list) else [entry]


def check(config, known):
    for call in (call for entry in config for call in calls(entry)):
        if call.get("method") not in known:
            raise RPCFailure("Unknown method was included in the config file")


def send(client, config, allowed):
    """Sends the entries that are allowed. Returns the others."""
    skipped = []
    for entry in config:
        if all(call["method"] in allowed for call in calls(entry)):
            for call in calls(entry):
                client.call(call["method"], call.get("params"))
        else:
            skipped.append(entry)
    return skipped


def add_configuration(commands):
    def add(function, summary):
        parser = commands.add_parser(function.__name__, help=summary, description=summary)
        parser.set_defaults(run=function)
        return parser

    for function in (save_config, save_subsystem_config):
        parser = add(function, "Prints the configuration of the service or of one subsystem.")
        parser.add_argument("-i", "--indent", type=int, default=2, help="negative is compact")
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--with-batches", action="store_true", help="keep lists of calls")
        group.add_argument("--no-with-batches", dest="with_batches", action="store_false")
        if function is save_config:
            parser.add_argument("-s", "--subsystems", help="names, with commas between them")
        else:
            parser.add_argument("-n", "--name", required=True, help="subsystem")
    for function in (load_config, load_subsystem_config):
        parser = add(function, "Sends the calls of a saved configuration.")
        parser.add_argument("-j", "--json-conf", help="file or JSON; standard input if left out")
        if function is load_config:
            parser.add_argument("-i", "--include-aliases", action="store_true",
                                help="deprecated names are known as well")


if __name__ == "__main__":
    parser, commands = make_parser("Calls the methods of SPDK.")
    add_methods(commands, load_methods(["spdk"]), sys.argv[1:])
    add_configuration(commands)
    sys.exit(main(parser, sys.argv[1:]))
