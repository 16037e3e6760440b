"""What every script here shares: it tells what it sees as JSON lines, and judges nothing."""

import json
import sys
import threading

SPEAKING = threading.Lock()


def tell(**seen):
    with SPEAKING:
        print(json.dumps(seen), flush=True)


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def run(scenarios, description):
    """Runs the scenario that the command line names: NAME ADDRESS [WORD…]."""
    if len(sys.argv) < 3 or sys.argv[1] not in scenarios:
        sys.exit(f"{description}\nexpected one of {', '.join(scenarios)} and an address, found {sys.argv[1:]}")
    scenarios[sys.argv[1]](*sys.argv[2:])
