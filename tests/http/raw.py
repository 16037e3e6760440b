"""A client that writes what it is told, as it is told, and keeps what it gets, byte by byte.

Each line on standard input is one connection: {"id", "to", "pieces": [hex…], "pause", "quiet", "half_close"}; the pieces are
written with a pause between them. It reads until the other side closes, or until nothing has come for `quiet` seconds. What it
has heard is told with the same id.
"""

import json
import socket
import sys
import threading
import time

from told import split, tell


def write(stream, asked):
    try:
        for number, piece in enumerate(asked["pieces"]):
            if number:
                time.sleep(asked["pause"])
            stream.sendall(bytes.fromhex(piece))
        if asked["half_close"]:
            stream.shutdown(socket.SHUT_WR)
    except OSError:
        # One that has heard enough may close before it has read everything; what it said is still to be read.
        pass


def exchange(asked):
    began = time.monotonic()
    heard, ended = bytearray(), "closed"
    try:
        stream = socket.create_connection(split(asked["to"]), timeout=10)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer = threading.Thread(target=write, args=(stream, asked), daemon=True)
        writer.start()
        stream.settimeout(asked["quiet"])
        while data := stream.recv(1 << 16):
            heard.extend(data)
    except TimeoutError:
        ended = "quiet"
    except OSError as error:
        ended = "reset" if isinstance(error, ConnectionError) else str(error)
    took = time.monotonic() - began
    tell(id=asked["id"], heard=heard.hex(), ended=ended, took=took)
    stream.close()


def main():
    running = []
    for line in sys.stdin:
        running.append(threading.Thread(target=exchange, args=(json.loads(line),), daemon=True))
        running[-1].start()
    for thread in running:
        thread.join()


if __name__ == "__main__":
    main()
