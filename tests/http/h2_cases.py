"""Requests of HTTP/2 that are not what they should be (RFC 9113, section 8.1.1), each on a connection of its own, and a server
that tells of every request that reaches it.
"""

import socket
import threading

import ends
from told import run, split, tell


def fields(name, *more, without=(), **changed):
    """The fields of a good request for /NAME, changed."""
    pseudo = {"method": "POST", "scheme": "http", "authority": "web", "path": f"/{name}", **changed}
    kept = [(f":{key}", value) for key, value in pseudo.items() if key not in without]
    return [*kept, *more]


# What each sends: fields, data, trailers. The first few are good.
GOOD = {
    "good": (fields("good"), [b"hello"], None),
    "length": (fields("length", ("content-length", "5")), [b"he", b"llo"], None),
    "trailers": (fields("trailers", ("te", "trailers")), [b"hello"], [("x-sum", "1")]),
    "cookies": (fields("cookies", ("cookie", "a=1"), ("cookie", "b=2")), [], None),
    "query": (fields("query", path="/query?a=b&c=%20//"), [], None),
}
BAD = {
    "connection": (fields("connection", ("connection", "close")), [], None),
    "keep-alive": (fields("keep-alive", ("keep-alive", "timeout=5")), [], None),
    "proxy-connection": (fields("proxy-connection", ("proxy-connection", "close")), [], None),
    "upgrade": (fields("upgrade", ("upgrade", "websocket")), [], None),
    "chunked": (fields("chunked", ("transfer-encoding", "chunked")), [b"5\r\nhello\r\n0\r\n\r\n"], None),
    "te": (fields("te", ("te", "gzip")), [], None),
    "short": (fields("short", ("content-length", "10")), [b"hello"], None),
    "long": (fields("long", ("content-length", "3")), [b"hello"], None),
    "none-of-five": (fields("none-of-five", ("content-length", "5")), [], None),
    "two-lengths": (fields("two-lengths", ("content-length", "5"), ("content-length", "3")), [b"hello"], None),
    "signed-length": (fields("signed-length", ("content-length", "+5")), [b"hello"], None),
    "capital": (fields("capital", ("X-Capital", "a")), [], None),
    "name-with-blank": (fields("name-with-blank", ("x y", "a")), [], None),
    "name-with-line": (fields("name-with-line", ("x\r\nhost: evil\r\nx", "a")), [], None),
    "name-with-colon": (fields("name-with-colon", ("x: y", "a")), [], None),
    "empty-name": (fields("empty-name", ("", "a")), [], None),
    "value-with-line": (fields("value-with-line", ("x", "a\r\nhost: evil")), [], None),
    "value-with-lf": (fields("value-with-lf", ("x", "a\nhost: evil")), [], None),
    "value-with-nul": (fields("value-with-nul", ("x", "a\0b")), [], None),
    "no-method": (fields("no-method", without=["method"]), [], None),
    "no-path": (fields("no-path", without=["path"]), [], None),
    "no-scheme": (fields("no-scheme", without=["scheme"]), [], None),
    "empty-path": (fields("empty-path", path=""), [], None),
    "path-without-slash": (fields("x", path="path-without-slash"), [], None),
    "path-with-blank": (fields("x", path="/path-with-blank HTTP/1.1"), [], None),
    "path-with-line": (fields("x", path="/path-with-line HTTP/1.1\r\nHost: evil\r\n\r\n"), [], None),
    "method-with-blank": (fields("method-with-blank", method="GET /evil"), [], None),
    "method-with-line": (fields("method-with-line", method="GET / HTTP/1.1\r\nX: "), [], None),
    "authority-with-line": (fields("authority-with-line", authority="web\r\nx: y"), [], None),
    "authority-with-user": (fields("authority-with-user", authority="evil@web"), [], None),
    "two-paths": (fields("two-paths", (":path", "/evil")), [], None),
    "two-methods": (fields("two-methods", (":method", "GET")), [], None),
    "two-authorities": (fields("two-authorities", (":authority", "evil")), [], None),
    "two-hosts": (fields("two-hosts", ("host", "web"), ("host", "evil"), without=["authority"]), [], None),
    "other-host": (fields("other-host", ("host", "evil")), [], None),
    "late-pseudo": ([("x", "y"), *fields("late-pseudo")], [], None),
    "unknown-pseudo": (fields("unknown-pseudo", (":evil", "1")), [], None),
    "status": (fields("status", (":status", "200")), [], None),
    "connect-with-path": (fields("connect-with-path", method="CONNECT"), [], None),
    "connection-trailer": (fields("connection-trailer"), [b"hello"], [("transfer-encoding", "chunked")]),
}
# Malformed too, and harmless if what makes them so goes no further.
FORGIVEN = {
    "pseudo-trailer": (fields("pseudo-trailer"), [b"hello"], [(":path", "/evil"), ("x-sum", "1")]),
}


class Server(ends.End):
    """Keeps trailers too."""

    def __init__(self, stream):
        super().__init__(stream, "server")
        self.trailers = {}

    def see(self, event):
        if type(event).__name__ == "TrailersReceived":
            self.trailers[event.stream_id] = list(event.headers)
        super().see(event)


def ask_one(address, name, case, told):
    head, data, trailers = case
    end = ends.End(socket.create_connection(split(address), timeout=10), "client")
    end.begin()
    end.until(lambda: end.settings is not None, 5)
    end.h2.send_headers(1, head, end_stream=not data and not trailers)
    for number, piece in enumerate(data):
        end.h2.send_data(1, piece, end_stream=number == len(data) - 1 and not trailers)
    if trailers:
        end.h2.send_headers(1, trailers, end_stream=True)
    end.flush()
    end.until(lambda: 1 in end.responses or 1 in end.resets or end.goaway, 3)
    status = end.responses.get(1, {}).get(":status")
    told[name] = {"status": status, "reset": end.resets.get(1), "goaway": end.goaway, "closed": end.closed}
    end.socket.close()


def ask(address):
    """Every case at once."""
    told = {}
    cases = {**GOOD, **BAD, **FORGIVEN}
    threads = [threading.Thread(target=ask_one, args=(address, name, case, told)) for name, case in cases.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell(good=list(GOOD), bad=list(BAD), forgiven=list(FORGIVEN), told=told)


def serve_one(stream):
    end = Server(stream)
    end.begin()
    answered = set()
    while end.step():
        for number, head in end.requests.items():
            done = number in end.ended or number in end.resets
            if number not in answered and done:
                answered.add(number)
                if number in end.ended:
                    body = bytes(end.data.get(number, b"")).hex()
                    tell(request=head, body=body, trailers=end.trailers.get(number, []))
                    end.h2.send_headers(number, [(":status", "200"), ("content-length", "2")])
                    end.h2.send_data(number, b"ok", end_stream=True)
        end.flush()


def serve(address):
    listener = socket.create_server(split(address), backlog=128)
    tell(listening=address)
    while True:
        threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    run({"ask": ask, "serve": serve}, __doc__)
