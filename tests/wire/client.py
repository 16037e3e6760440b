"""A client of somebody's tunnel that is not Sidestep's own."""

import socket
import ssl
import struct
import sys
import time

import ends


def connect(given):
    raw = socket.create_connection(ends.split(given.address), timeout=ends.PATIENCE)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def secure(given, raw):
    return ends.context(given, "client").wrap_socket(raw)


def open_tunnel(given):
    end = ends.End(secure(given, connect(given)), "client")
    end.begin()
    return end


def ask(end, target, headers=(), method="CONNECT", more=()):
    stream = end.h2.get_next_available_stream_id()
    fields = [(":method", method), (":authority", target), *more, *headers]
    end.h2.send_headers(stream, fields)
    end.flush()
    return stream


def answered(end, stream):
    over = lambda: stream in end.responses or stream in end.resets or end.closed or end.goaway
    end.until(over)
    return end.responses.get(stream, {}).get(":status")


def handshake(given):
    """What the handshake alone comes to. A server that refuses our certificate says so only after it."""
    try:
        secured = secure(given, connect(given))
    except (OSError, ssl.SSLError) as error:
        return ends.tell(handshake=str(error))
    said = {
        "version": secured.version(),
        "cipher": secured.cipher()[0],
        "alpn": secured.selected_alpn_protocol(),
        "peer": ends.uri_of(secured),
    }
    end = ends.End(secured, "client")
    end.begin()
    end.until(lambda: end.settings is not None and end.window > 65535, 5)
    tickets = secured.session is not None and secured.session.has_ticket
    ends.tell(handshake=None, settings=end.settings, window=end.window, tickets=tickets, closed=end.closed, **said)


def echo(given):
    """A connection to an app that greets with its name and sends back what it is sent, with every header of the wire."""
    end = open_tunnel(given)
    headers = [
        ("baggage", "k8s.cluster.name=c1,k8s.namespace.name=abroad,k8s.pod.name=foreign-0,service.name=foreign"),
        ("forwarded", 'for="192.0.2.1:4711";host=app'),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ]
    stream = ask(end, given.target, headers)
    status = answered(end, stream)
    if status == "200":
        end.h2.send_data(stream, b"hello", end_stream=True)
        end.flush()
        end.until(lambda: stream in end.ended)
    heard = bytes(end.data.get(stream, b"")).decode()
    ends.tell(status=status, headers=end.responses.get(stream), heard=heard, **end.summary())


def statuses(given):
    """One request for each word of the target, METHOD=AUTHORITY, on one connection."""
    end = open_tunnel(given)
    seen = []
    for word in given.target.split(","):
        method, authority = word.split("=", 1)
        more = [] if method == "CONNECT" else [(":scheme", "https"), (":path", "/")]
        stream = ask(end, authority, method=method, more=more)
        status = answered(end, stream)
        seen.append(status if status else f"reset {end.resets.get(stream)}")
    ends.tell(statuses=seen, **end.summary())


def half_close_by_app(given):
    """Reads to the end of the stream first, then sends, then ends."""
    end = open_tunnel(given)
    stream = ask(end, given.target)
    status = answered(end, stream)
    end.until(lambda: stream in end.ended)
    end.h2.send_data(stream, b"after the end", end_stream=True)
    end.flush()
    end.until(lambda: False, 0.2)
    ends.tell(status=status, heard=bytes(end.data.get(stream, b"")).decode(), **end.summary())


def reset(given):
    """Resets a stream that was accepted."""
    end = open_tunnel(given)
    stream = ask(end, given.target)
    status = answered(end, stream)
    end.h2.reset_stream(stream, error_code=8)
    end.flush()
    end.until(lambda: False, 0.2)
    ends.tell(status=status, **end.summary())


def many(given):
    """As many streams as are allowed at once, and one more than that."""
    end = open_tunnel(given)
    end.until(lambda: end.settings is not None)
    most = end.settings["max_concurrent_streams"]
    streams = [ask(end, given.target) for _ in range(most)]
    end.until(lambda: all(stream in end.responses for stream in streams))
    # One too many, past our own library's count.
    one_more = streams[-1] + 2
    block = end.h2.encoder.encode([(":method", "CONNECT"), (":authority", given.target)])
    end.raw(frame(1, 0x4, one_more, block))
    Frames(end).until(lambda: one_more in end.resets, 5)
    good = sum(end.responses[stream].get(":status") == "200" for stream in streams if stream in end.responses)
    ends.tell(accepted=good, refused=end.resets.get(one_more), closed=end.closed)


def drained(given):
    """Holds a stream open, says so, and reports when the other end says farewell; then ends the stream."""
    end = open_tunnel(given)
    stream = ask(end, given.target)
    status = answered(end, stream)
    ends.tell(ready=status)
    frames = Frames(end)
    frames.until(lambda: end.goaway is not None)
    seen, alive = end.goaway, stream not in end.resets and end.closed is None
    end.raw(frame(0, 0x1, stream, b"last words"))
    frames.until(lambda: False)
    heard = bytes(end.data.get(stream, b"")) + bytes(frames.data.get(stream, b""))
    ends.tell(goaway=seen, alive=alive, heard=heard.decode(), closed=end.closed)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def flood(given, make, count=20_000, target=True):
    """Sends many frames as fast as they are taken, until they are sent or the other end has had enough."""
    end = open_tunnel(given)
    stream = ask(end, given.target) if target else 0
    if target:
        answered(end, stream)
    sent = 0
    batch = 200
    while sent < count and not end.closed:
        for _ in range(batch):
            sent += 1
        end.raw(b"".join(make(stream, number) for number in range(sent - batch, sent)))
        end.until(lambda: end.goaway is not None, 0.001)
        if end.goaway:
            break
    end.until(lambda: end.closed is not None, 1.0)
    ends.tell(sent=sent, **end.summary())


def rapid_reset(given):
    """CVE-2023-44487: streams opened and reset at once."""
    end = open_tunnel(given)
    end.until(lambda: end.settings is not None)
    sent, identifier, frames = 0, 1, Frames(end)
    while sent < 20_000 and not end.closed and not end.goaway:
        burst = b""
        for _ in range(50):
            block = end.h2.encoder.encode([(":method", "CONNECT"), (":authority", given.target)])
            burst += frame(1, 0x4, identifier, block) + frame(3, 0, identifier, struct.pack(">I", 8))
            identifier += 2
            sent += 1
        end.raw(burst)
        frames.read()
    ends.tell(sent=sent, closed=end.closed, goaway=end.goaway)


class Frames:
    """Reads frames without the library, which would not know these streams, or would not go on after a farewell."""

    def __init__(self, end):
        self.end = end
        self.rest = b""
        self.data = {}

    def read(self, patience=0.001):
        """Reads once; the frames that are complete, pings answered."""
        self.end.socket.settimeout(patience)
        try:
            data = self.end.socket.recv(1 << 18)
            if not data:
                self.end.closed = "end"
        except (TimeoutError, socket.timeout):
            return []
        except (OSError, ssl.SSLError) as error:
            self.end.closed = str(error)
            return []
        self.rest += data
        seen = []
        while len(self.rest) >= 9:
            length = int.from_bytes(self.rest[:3], "big")
            if len(self.rest) < 9 + length:
                break
            kind, flags, stream = struct.unpack(">BBI", self.rest[3:9])
            payload, self.rest = self.rest[9:9 + length], self.rest[9 + length:]
            seen.append((kind, stream))
            if kind == 0:
                self.data.setdefault(stream, bytearray()).extend(payload)
            elif kind == 3:
                self.end.resets[stream] = int.from_bytes(payload, "big")
            elif kind == 6 and not flags & 1:
                self.end.raw(frame(6, 1, 0, payload))
            elif kind == 7:
                self.end.goaway = {"error": int.from_bytes(payload[4:8], "big")}
        return seen

    def until(self, condition, patience=ends.PATIENCE):
        deadline = time.monotonic() + patience
        while not condition() and not self.end.closed and time.monotonic() < deadline:
            self.read(0.1)
        return bool(condition())


def continuation_flood(given):
    """CVE-2024-27316: a head without end."""
    end = open_tunnel(given)
    end.until(lambda: end.settings is not None)
    block = end.h2.encoder.encode([(":method", "CONNECT"), (":authority", given.target)])
    end.raw(frame(1, 0, 1, block))
    sent, frames = 0, Frames(end)
    while sent < 20_000 and not end.closed and not end.goaway:
        # A literal field that is never indexed: name "x", value of 1,000 bytes.
        field = b"\x10\x01x\x7f" + bytes([1000 - 127 & 0x7F | 0x80, (1000 - 127) >> 7]) + b"y" * 1000
        end.raw(b"".join(frame(9, 0, 1, field) for _ in range(20)))
        sent += 20
        frames.read()
    ends.tell(sent=sent, closed=end.closed, goaway=end.goaway)


def huge_header(given):
    """A head larger than the limit that was announced."""
    end = open_tunnel(given)
    end.until(lambda: end.settings is not None)
    limit = end.settings["max_header_list_size"]
    stream = ask(end, given.target, [("baggage", "x" * 8000)] * (limit // 8000 + 2))
    status = answered(end, stream)
    ends.tell(limit=limit, status=status, **end.summary())


def empty_data(given):
    flood(given, lambda stream, _: frame(0, 0, stream))


def pings(given):
    flood(given, lambda _, number: frame(6, 0, 0, struct.pack(">Q", number)), count=50_000, target=False)


def settings_flood(given):
    flood(given, lambda _, number: frame(4, 0, 0, struct.pack(">HI", 4, 65535 + number % 2)), target=False)


def silence(given):
    """Opens a stream and then answers nothing any more, as a machine does that has gone; reports when it is cut off."""
    end = open_tunnel(given)
    stream = ask(end, given.target)
    status = answered(end, stream)
    ends.tell(ready=status)
    began = time.monotonic()
    end.socket.settimeout(60)
    try:
        # What arrives is read and not answered.
        while end.socket.recv(1 << 16):
            pass
    except (OSError, ssl.SSLError):
        pass
    ends.tell(after=time.monotonic() - began)


def slow_reader(given):
    """Takes nothing of what an app sends, until it is told to by a line on standard input; then all of it."""
    end = open_tunnel(given)
    end.returned = False
    stream = ask(end, given.target)
    status = answered(end, stream)
    end.until(lambda: len(end.data.get(stream, b"")) >= 65535, 5)
    ends.tell(ready=status, held=len(end.data.get(stream, b"")))
    sys.stdin.readline()
    end.returned = True
    end.h2.acknowledge_received_data(len(end.data[stream]), stream)
    end.flush()
    end.until(lambda: stream in end.ended)
    ends.tell(heard=len(end.data[stream]), **end.summary())


def fast_writer(given):
    """Sends to an app that takes nothing, until nothing is taken for two seconds."""
    end = open_tunnel(given)
    stream = ask(end, given.target)
    status = answered(end, stream)
    sent = 0
    while sent < 1 << 28:
        room = min(end.h2.local_flow_control_window(stream), end.h2.max_outbound_frame_size, 1 << 16)
        if room > 0:
            end.h2.send_data(stream, bytes(room))
            end.flush()
            sent += room
        elif not end.until(lambda: end.h2.local_flow_control_window(stream) > 0 or end.closed, 2) or end.closed:
            break
    ends.tell(status=status, sent=sent, **end.summary())


def main():
    given = ends.arguments(__doc__)
    globals()[given.scenario.replace("-", "_")](given)


if __name__ == "__main__":
    main()
