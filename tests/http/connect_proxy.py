"""A proxy of HTTP that knows CONNECT and nothing else (RFC 9110, section 9.3.6)."""

import socket
import threading

from told import run, split, tell


def copy(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve_one(stream):
    head = b""
    while b"\r\n\r\n" not in head:
        head += stream.recv(1 << 16)
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    tell(method=method, target=target)
    if method != "CONNECT":
        stream.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        return stream.close()
    upstream = socket.create_connection(split(target))
    stream.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    threading.Thread(target=copy, args=(upstream, stream), daemon=True).start()
    copy(stream, upstream)


def serve(address):
    listener = socket.create_server(split(address))
    tell(listening=address)
    while True:
        threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    run({"serve": serve}, __doc__)
