"""An upstream that misbehaves as the path of the request says: /NAME. Any other path is answered as it should be."""

import socket
import struct
import threading
import time

from told import run, split, tell

HEAD = b"HTTP/1.1 200 OK\r\n"
END = b"\r\n"


def reset(stream):
    """Ends a connection with a reset instead of an orderly end."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def reset_midway(stream):
    stream.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(5000))
    time.sleep(0.1)
    reset(stream)


def stall(stream):
    """Answers nothing and stays."""
    while stream.recv(1 << 16):
        pass


def stall_midway(stream):
    stream.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(5000))
    stall(stream)


def drip(stream):
    """A head that never ends, one byte at a time."""
    for byte in HEAD + b"X-Slow: " + b"x" * 100_000:
        stream.sendall(bytes([byte]))
        time.sleep(0.1)


def vanish(stream):
    """Ends without an answer."""
    stream.close()


def early(stream):
    """Answers before it has read the body, and ends the connection."""
    stream.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
    stream.shutdown(socket.SHUT_WR)
    stall(stream)


def endless_head(stream):
    stream.sendall(HEAD)
    for number in range(200_000):
        stream.sendall(b"X-%d: %s\r\n" % (number, b"y" * 1000))


def informational_flood(stream):
    for _ in range(100_000):
        stream.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 10)
    stream.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")


def poison(stream):
    """One answer that was asked for, and one that was not."""
    good = HEAD + b"Content-Length: 2\r\n\r\nok"
    stream.sendall(good + HEAD + b"Content-Length: 6\r\n\r\npoison")
    stall(stream)


def late_poison(stream):
    """The same, the second when the first has been read."""
    stream.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")
    time.sleep(0.2)
    stream.sendall(HEAD + b"Content-Length: 6\r\n\r\npoison")
    stall(stream)


def says(*parts):
    """Sends this and ends."""

    def behave(stream):
        stream.sendall(b"".join(parts))
        stream.shutdown(socket.SHUT_WR)
        stall(stream)

    return behave


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = b"Content-Length: 2\r\n"

BEHAVIOURS = {
    "reset": reset,
    "reset-midway": reset_midway,
    "stall": stall,
    "stall-midway": stall_midway,
    "drip": drip,
    "vanish": vanish,
    "early": early,
    "endless-head": endless_head,
    "informational-flood": informational_flood,
    "poison": poison,
    "late-poison": late_poison,
    "short-length": says(HEAD, b"Content-Length: 100\r\n\r\n", bytes(50)),
    "no-last-chunk": says(CHUNKED, b"5\r\nhello\r\n"),
    "short-chunk": says(CHUNKED, b"a\r\nhello"),
    "no-end-after-last-chunk": says(CHUNKED, b"5\r\nhello\r\n0\r\n"),
    "no-chunk-size": says(CHUNKED, b"zz\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-overflow": says(CHUNKED, b"fffffffffffffffff5\r\nhello\r\n0\r\n\r\n"),
    "negative-chunk-size": says(CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"),
    "long-chunk": says(CHUNKED, b"2\r\nhello\r\n0\r\n\r\n"),
    "length-and-chunked": says(HEAD, LENGTH, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "two-lengths": says(HEAD, LENGTH, b"Content-Length: 5\r\n\r\nhello"),
    "length-list": says(HEAD, b"Content-Length: 2, 5\r\n\r\nhello"),
    "signed-length": says(HEAD, b"Content-Length: +5\r\n\r\nhello"),
    "coding-after-chunked": says(HEAD, b"Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "chunked-in-1.0": says(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "bare-cr": says(HEAD, LENGTH, b"X-A: b\rSet-Cookie: evil=1\r\n\r\nok"),
    "nul": says(HEAD, LENGTH, b"X-A: b\0c\r\n\r\nok"),
    "fold": says(HEAD, LENGTH, b"X-A: b\r\n Set-Cookie: evil=1\r\n\r\nok"),
    "space-before-colon": says(HEAD, LENGTH, b"Set-Cookie : evil=1\r\n\r\nok"),
    "no-colon": says(HEAD, LENGTH, b"Set-Cookie\r\n\r\nok"),
    "garbage": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "other-version": says(b"HTTP/2.0 200 OK\r\n", LENGTH, b"\r\nok"),
    "status-of-two-digits": says(b"HTTP/1.1 20 OK\r\n", LENGTH, b"\r\nok"),
    "status-zero": says(b"HTTP/1.1 000 OK\r\n", LENGTH, b"\r\nok"),
    "unasked-switch": says(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw bytes"),
    "body-after-204": says(b"HTTP/1.1 204 No Content\r\n", LENGTH, b"\r\nok"),
    "until-the-end": says(b"HTTP/1.0 200 OK\r\n\r\nall of it"),
}


def serve_one(stream):
    kept = b""
    while True:
        while b"\r\n\r\n" not in kept:
            data = stream.recv(1 << 16)
            if not data:
                return
            kept += data
        head, kept = kept.split(b"\r\n\r\n", 1)
        name = head.split(b" ")[1].split(b"?")[0].decode(errors="replace").strip("/")
        if name in BEHAVIOURS:
            return BEHAVIOURS[name](stream)
        stream.sendall(HEAD + b"Content-Length: 4\r\n\r\nfine")


def guarded(stream):
    try:
        serve_one(stream)
    except OSError:
        pass
    finally:
        stream.close()


def serve(address):
    listener = socket.create_server(split(address), backlog=128)
    tell(listening=address)
    while True:
        stream, _ = listener.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=guarded, args=(stream,), daemon=True).start()


if __name__ == "__main__":
    run({"serve": serve}, __doc__)
