"""An app that knows nothing of traces: asked for /next, it asks the next one, and hands on the headers that it was sent.

usage: app.py ADDRESS PORT [NEXT]
"""

import http.server
import socketserver
import sys
import urllib.request

HANDED_ON = ["traceparent", "tracestate", "b3", "x-request-id"]


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"leaf"
        if self.path == "/next":
            headers = {name: self.headers[name] for name in HANDED_ON if name in self.headers}
            with urllib.request.urlopen(urllib.request.Request(sys.argv[3], headers=headers)) as answer:
                body = b"next " + answer.read()
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    """Not http.server's own: that asks DNS for its name before it listens, and a workload of a test has no DNS."""

    allow_reuse_address = True
    daemon_threads = True


Server((sys.argv[1], int(sys.argv[2])), App).serve_forever()
