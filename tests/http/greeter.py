"""Servers of something that is no HTTP: one that speaks first, as those of mail do, and one that sends back what it is sent."""

import socket
import threading

from told import run, split, tell


def greet(stream):
    stream.sendall(b"220 mail.example ESMTP\r\n")
    stream.shutdown(socket.SHUT_WR)
    try:
        while stream.recv(1 << 10):
            pass
    except OSError:
        pass
    stream.close()


def echo(stream):
    try:
        while data := stream.recv(1 << 10):
            stream.sendall(data)
    except OSError:
        pass
    stream.close()


def serve(address, behave=greet):
    listener = socket.create_server(split(address))
    tell(listening=address)
    while True:
        threading.Thread(target=behave, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    run({"greet": serve, "echo": lambda address: serve(address, echo)}, __doc__)
