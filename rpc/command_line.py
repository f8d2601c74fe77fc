"""What snap_rpc.py and spdk_rpc.py share: commands made from rpc/schema."""

import argparse
import json
import logging
import shlex
import sys
from pathlib import Path

from client import Applying, Client, DryRun, RPCFailure, Skipped, carry_bytes

SCHEMA = Path(__file__).resolve().parent / "schema"
# In front of a parameter's name among the arguments: `timeout` is also an option of ours.
PARAM = "param_"


def load_methods(families):
    """The methods of these families, in the order of the reference."""
    methods = []
    for path in sorted(SCHEMA.glob("*.json")):
        group = json.loads(path.read_text())
        if group["family"] in families:
            methods += [dict(method, family=group["family"]) for method in group["methods"]]
    return methods


# Options before the command whose value is the next argument.
WITH_VALUE = {"-s", "-p", "-t", "-r", "--verbose", "--init-file"}


def add_methods(commands, methods, arguments):
    """A command for each method; where `arguments` name one, for that alone: making all of them
    takes longer than a call."""
    named = command_among(arguments)
    chosen = [method for method in methods if method["name"] == named]
    for method in chosen or methods:
        add_method(commands, method)


def command_among(arguments):
    """The first of `arguments` that is neither an option nor its value; None without one."""
    previous = ""
    for argument in arguments:
        if not argument.startswith("-") and previous not in WITH_VALUE:
            return argument
        previous = argument
    return None


def add_method(commands, method):
    """A command for one method. Its function takes client and arguments and prints the result."""
    example = f"%(prog)s {method['example']['arguments']}".strip()
    parser = commands.add_parser(
        method["name"], help=method["summary"], description=method["summary"],
        epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter)
    for param in method["params"]:
        if "cli" in param:
            add_argument(parser, param, method["family"])

    def run(client, args):
        show(client.call(method["name"], collect(method, args)), method["result"]["print"])

    parser.set_defaults(run=run)


def add_argument(parser, param, family):
    cli = param["cli"]
    settings = {"help": param["summary"].replace("%", "%%")}
    if param["type"] == "bool":
        return add_flag(parser, param, family, settings)
    if param["type"] in ("u8", "u16", "u32", "u64", "i32"):
        settings["type"] = int if family == "spdk" else number
    elif param["type"] == "strs":
        settings["type"] = lambda text: text.split(",")
    elif param["type"] == "u32s":
        settings["type"] = numbers
    elif param["type"] == "object":
        settings["type"] = json.loads
    if "enum" in param:
        settings["choices"] = param["enum"]
    if isinstance(cli, list):
        if "choices" not in settings:
            settings["metavar"] = param["name"].upper()
        required = param.get("required", False)
        parser.add_argument(*cli, dest=PARAM + param["name"], required=required, **settings)
    elif isinstance(cli, dict) and "options" in cli:
        add_either(parser, param, settings)
    elif isinstance(cli, dict):
        parser.add_argument(PARAM + param["name"], metavar=cli["position"], type=float,
                            help="size in MiB")
    else:
        if not param.get("required"):
            settings["nargs"] = "?"
        parser.add_argument(PARAM + param["name"], metavar=cli, **settings)


def number(text):
    """PCI identifiers are written in hexadecimal."""
    return int(text, 16) if text.lower().startswith("0x") else int(text)


def numbers(text):
    """`8,4` is [8, 4]."""
    return [number(part) for part in text.split(",")]


def add_either(parser, param, settings):
    """A parameter that old texts write as a position and newer ones as an option."""
    cli, name = param["cli"], PARAM + param["name"]
    group = parser.add_mutually_exclusive_group(required=param.get("required", False))
    # An absent position must not undo the option.
    group.add_argument(name, nargs="?", metavar=cli["position"], default=argparse.SUPPRESS,
                       **settings)
    group.add_argument(*cli["options"], dest=name, metavar=param["name"].upper(), **settings)


def add_flag(parser, param, family, settings):
    """SPDK's own flags are sent as false when they are not given, SNAP's are left out."""
    cli = param["cli"]
    if isinstance(cli, list):
        parser.add_argument(*cli, dest=PARAM + param["name"], action="store_true",
                            default=False if family == "spdk" else None, **settings)
        return
    group = parser.add_mutually_exclusive_group(required=param.get("required", False))
    default = False if param.get("sends_false") else None
    settings.update(dest=PARAM + param["name"], default=default)
    group.add_argument(*cli["on"], action="store_true", **settings)
    group.add_argument(*cli["off"], action="store_false", **settings)


def collect(method, args):
    """The params of a call: what was given, converted where the command line has other units."""
    params = {}
    for param in method["params"]:
        cli = param.get("cli")
        value = getattr(args, PARAM + param["name"], None)
        if value is None:
            continue
        if isinstance(cli, dict) and cli.get("convert") == "mebibytes_to_blocks":
            # The service refuses a block size of 0 with its own words.
            value = int(value * 1024 * 1024 // max(getattr(args, PARAM + "block_size"), 1))
        params[param["name"]] = value
    return params


def show(result, kind):
    """Prints a result: as SPDK's rpc.py does for its methods, as snap_rpc.py for SNAP's."""
    if kind == "dict":
        print(json.dumps(result, indent=2))
    elif kind == "json":
        print(json.dumps(result, indent=2).strip('"'))
    elif kind == "array" and result is not True:
        print(" ".join(shlex.quote(item) for item in result))
    elif kind == "snap" and result is not True:
        print(result if isinstance(result, str) else json.dumps(result, indent=2))


def make_parser(description):
    """The options before the command. `commands` takes the commands."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-s", dest="address", default="/var/tmp/spdk.sock",
                        help="path of the RPC socket, or an IP address")
    parser.add_argument("-p", dest="port", type=int, default=5260, help="TCP port (5260)")
    parser.add_argument("-t", dest="timeout", type=float, default=60.0,
                        help="seconds to wait for an answer (60)")
    parser.add_argument("-r", dest="retries", type=int, default=0,
                        help="tries to connect again, 0.2 s apart (0)")
    parser.add_argument("-v", dest="verbose", action="store_const", const="INFO",
                        default="ERROR", help="show requests and answers")
    parser.add_argument("--verbose", choices=["DEBUG", "INFO", "ERROR"], help="level to show")
    parser.add_argument("--dry-run", action="store_true", help="show the request, send nothing")
    parser.add_argument("--init-file", metavar="FILE",
                        help="carry out the commands of FILE, one per line; what is there already, "
                        "exactly so, is left alone, so the same file may be given again")
    parser.add_argument("--keep-going", action="store_true",
                        help="with --init-file: go on after a line that fails")
    parser.add_argument("--raw", action="store_true",
                        help="carry JSON-RPC between standard input and output and the service")
    parser.add_argument("--server", action="store_true",
                        help="run lines of standard input, each followed by **STATUS=0 or 1")
    return parser, parser.add_subparsers(title="methods", metavar="METHOD", dest="command")


def split_commands(text):
    """The commands of one argument: `a b; c "d;e"` is [a, b] and [c, d;e]."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands = [[]]
    for token in lexer:
        if set(token) == {";"}:
            commands.append([])
        else:
            commands[-1].append(token)
    return [command for command in commands if command]


def run_script(parser, client, commands):
    """Runs (text, words) one after the other; the first that fails ends the script."""
    executed = []
    for text, words in commands:
        executed.append(text)
        if not words or words[0].startswith("#"):
            continue
        args = parser.parse_args(words)
        try:
            args.run(client, args)
        except RPCFailure as failure:
            print("Exception:")
            print("\n".join(executed).strip() + " <<<")
            raise
        except Skipped:
            pass


def run_init_file(parser, args, client):
    """Carries out the lines of a file, each named when it fails. Returns the exit code."""
    path = args.init_file
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        print(f"{path}: {error}")
        return 1
    applying, code = Applying(client), 0
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            words = parser.parse_args(shlex.split(line))
            words.run(applying, words)
        except Skipped:
            pass
        except (RPCFailure, ValueError, SystemExit) as failure:
            print(f"{path}:{number}: {line.strip()}")
            if not isinstance(failure, SystemExit):
                print(failure)
            code = 1
            if not args.keep_going:
                break
    return code


def run_server(parser):
    """Runs each line of standard input with a connection of its own (for bash's coproc)."""
    for line in sys.stdin:
        status = 1
        try:
            args = parser.parse_args(shlex.split(line))
            args.run(make_client(args), args)
            status = 0
        except RPCFailure as failure:
            print(failure)
        except SystemExit:
            pass
        print(f"**STATUS={status}", flush=True)


def make_client(args):
    if args.dry_run:
        return DryRun()
    return Client(args.address, args.port, args.timeout, args.retries, args.verbose)


def main(parser, arguments):
    """Runs one command, several in one argument, or those on standard input."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    options, script = separate_script(parser, arguments)
    args = parser.parse_args(options)
    if args.server:
        run_server(parser)
        return 0
    if args.raw:
        return carry_bytes(args.address, args.port)
    if args.init_file:
        try:
            return run_init_file(parser, args, make_client(args))
        except RPCFailure as failure:
            print(failure)
            return 1
    if script is None and args.command is None:
        if sys.stdin.isatty():
            parser.print_help()
            return 1
        lines = [line.rstrip() for line in sys.stdin if line.strip()]
        # A comment may hold quotes that do not match.
        script = [(line, [] if line.startswith("#") else shlex.split(line)) for line in lines]
    try:
        client = make_client(args)
        if script is not None:
            run_script(parser, client, script)
        else:
            args.run(client, args)
    except Skipped:
        pass
    except RPCFailure as failure:
        print(failure)
        return 1
    return 0


def separate_script(parser, arguments):
    """Takes a last argument of several words as a script: `snap_rpc.py -s S "a b; c"`."""
    if arguments and any(mark in arguments[-1] for mark in " ;\n"):
        try:
            before = arguments[:-1]
            is_value = len(before) > 0 and before[-1] in WITH_VALUE
            if not is_value and command_among(before) is None:
                words = split_commands(arguments[-1])
                return before, [(shlex.join(command), command) for command in words]
        except ValueError as error:
            parser.error(str(error))
    return arguments, None
