"""An upstream that keeps every byte it is sent, connection by connection, and hands all of them out at the next port.

It reads HTTP/1.1 as strictly as RFC 9112 lets it, and answers each request that it understands.
"""

import socket
import threading

from told import run, split, tell

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connection:
    """What came on a connection, and how far it has been understood."""

    def __init__(self, stream, kept):
        self.stream, self.kept, self.at = stream, kept, 0

    def more(self):
        data = self.stream.recv(1 << 16)
        if not data:
            raise EOFError
        self.kept.extend(data)

    def line(self):
        while (end := self.kept.find(b"\r\n", self.at)) < 0:
            self.more()
        line, self.at = bytes(self.kept[self.at:end]), end + 2
        return line

    def skip(self, count):
        while len(self.kept) < self.at + count:
            self.more()
        self.at += count

    def request(self):
        if not self.line():
            self.line()
        fields = {}
        while line := self.line():
            name, value = line.split(b":", 1)
            fields[name.lower()] = value.strip()
        if b"100-continue" in fields.get(b"expect", b""):
            self.stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            while size := int(self.line().split(b";")[0], 16):
                self.skip(size + 2)
            while self.line():
                pass
        else:
            self.skip(int(fields.get(b"content-length", b"0")))

    def serve(self):
        try:
            while True:
                self.request()
                self.stream.sendall(OK)
        except (EOFError, OSError):
            pass
        except ValueError:
            self.stream.sendall(BAD)
        finally:
            self.stream.close()


def accept(address, serve):
    listener = socket.create_server(address, backlog=512)
    def forever():
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=serve, args=(stream,), daemon=True).start()
    thread = threading.Thread(target=forever, daemon=True)
    thread.start()
    return thread


def serve(*addresses):
    """A recorder at each address; each hands out what it has at the next port, one line of hexadecimals per connection."""
    threads = []
    for address in addresses:
        host, port = split(address)
        records = []

        def record(stream, records=records):
            kept = bytearray()
            records.append(kept)
            Connection(stream, kept).serve()

        def hand_out(stream, records=records):
            stream.sendall(b"".join(bytes(kept).hex().encode() + b"\n" for kept in list(records)))
            stream.close()

        threads += [accept((host, port), record), accept((host, port + 1), hand_out)]
    tell(listening=addresses)
    threads[0].join()


if __name__ == "__main__":
    run({"serve": serve}, __doc__)
