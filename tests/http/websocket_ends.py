"""Both ends of WebSocket (RFC 6455) by the package websockets."""

import hashlib

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve as listen

from told import run, split, tell

LARGEST = 8 << 20


def echo(socket):
    """Sends back what it gets; the word "close" makes it close the connection itself."""
    tell(accepted=socket.remote_address[0], path=socket.request.path, subprotocol=socket.subprotocol)
    try:
        for message in socket:
            if message == "close":
                socket.close(4002, "as you wish")
                break
            socket.send(message)
    except ConnectionClosed:
        pass
    tell(closed=socket.close_code, reason=socket.close_reason)


def serve(address):
    host, port = split(address)
    with listen(echo, host, port, max_size=LARGEST, subprotocols=["echo"], compression=None) as server:
        tell(listening=address)
        server.serve_forever()


def opened(address):
    # Compressed, a megabyte of this kind would be a few kilobytes.
    url = f"ws://{address}/echo?x=1"
    return connect(url, max_size=LARGEST, subprotocols=["echo"], compression=None, proxy=None)


def ask(address):
    """Text, binary of a megabyte, pings, and a close that we begin."""
    large = hashlib.sha256(b"seed").digest() * (1 << 15)
    with opened(address) as socket:
        socket.send("hello")
        text = socket.recv(timeout=10)
        same = 0
        for _ in range(4):
            socket.send(large)
            same += socket.recv(timeout=10) == large
        pong = socket.ping().wait(10)
        socket.close(4001, "enough")
        tell(
            text=text,
            same=same,
            pong=pong,
            subprotocol=socket.subprotocol,
            status=socket.response.status_code,
            code=socket.close_code,
            reason=socket.close_reason,
        )


def ask_server_closes(address):
    with opened(address) as socket:
        socket.send("close")
        try:
            socket.recv(timeout=10)
        except ConnectionClosed:
            pass
        tell(code=socket.close_code, reason=socket.close_reason)


SCENARIOS = {"serve": serve, "ask": ask, "server-closes": ask_server_closes}

if __name__ == "__main__":
    run(SCENARIOS, __doc__)
