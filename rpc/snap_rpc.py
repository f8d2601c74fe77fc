#!/usr/bin/env python3
"""Calls the methods of a SNAP service, and those of SPDK on the same socket.

    snap_rpc.py -s /var/tmp/spdk.sock emulation_function_list --all
    snap_rpc.py "bdev_malloc_create 64 512; bdev_list"
    snap_rpc.py < snap_rpc_init.conf
"""

import sys

from command_line import add_methods, load_methods, main, make_parser

if __name__ == "__main__":
    parser, commands = make_parser("Calls the methods of a SNAP service.")
    add_methods(commands, load_methods(["snap", "spdk"]), sys.argv[1:])
    sys.exit(main(parser, sys.argv[1:]))
