"""The foreign end of a tunnel: HTTP/2 by the package h2, TLS by Python's own OpenSSL.

Nothing here knows Sidestep. Each scenario prints what it saw as one JSON object and judges nothing.
"""

import argparse
import json
import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

PATIENCE = 20.0

SETTINGS = {
    "header_table_size": h2.settings.SettingCodes.HEADER_TABLE_SIZE,
    "enable_push": h2.settings.SettingCodes.ENABLE_PUSH,
    "max_concurrent_streams": h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS,
    "initial_window_size": h2.settings.SettingCodes.INITIAL_WINDOW_SIZE,
    "max_frame_size": h2.settings.SettingCodes.MAX_FRAME_SIZE,
    "max_header_list_size": h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE,
}


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--address", required=True, help="IP:PORT")
    parser.add_argument("--credentials", help="directory with tls.crt, tls.key and ca.crt")
    parser.add_argument("--tls", choices=["1.2", "1.3"], default="1.3")
    parser.add_argument("--alpn", default="h2", help="protocols with commas between them, or none")
    parser.add_argument("scenario")
    parser.add_argument("target", nargs="?", default="")
    return parser.parse_args()


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def context(given, side):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if side == "server" else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    # Who the other end is is Sidestep's to prove; what it proved is told in the scenario's answer.
    made.verify_mode = ssl.CERT_REQUIRED
    version = ssl.TLSVersion.TLSv1_2 if given.tls == "1.2" else ssl.TLSVersion.TLSv1_3
    made.minimum_version = made.maximum_version = version
    if given.credentials:
        made.load_verify_locations(f"{given.credentials}/ca.crt")
        made.load_cert_chain(f"{given.credentials}/tls.crt", f"{given.credentials}/tls.key")
    else:
        made.verify_mode = ssl.CERT_NONE
    if given.alpn != "none":
        made.set_alpn_protocols(given.alpn.split(","))
    return made


def uri_of(secured):
    """The URI names in the other end's certificate."""
    names = (secured.getpeercert() or {}).get("subjectAltName", ())
    return [value for kind, value in names if kind == "URI"]


def tell(**seen):
    print(json.dumps(seen), flush=True)


class End:
    """One HTTP/2 connection and everything that happened on it."""

    def __init__(self, secured, side):
        self.socket = secured
        self.socket.settimeout(PATIENCE)
        config = h2.config.H2Configuration(
            client_side=side == "client",
            header_encoding="utf-8",
            # The package does not know that CONNECT has neither :scheme nor :path (RFC 9113, section 8.5).
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config=config)
        self.settings = None
        self.window = 65535
        self.responses = {}
        self.requests = {}
        self.data = {}
        self.ended = set()
        self.resets = {}
        self.goaway = None
        self.pings = 0
        self.closed = None
        self.returned = True

    def begin(self):
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.raw(data)

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except (OSError, ssl.SSLError) as error:
            self.closed = self.closed or type(error).__name__

    def step(self, patience=PATIENCE):
        """Reads once; False if nothing came in time or the connection is over."""
        if self.closed:
            return False
        self.socket.settimeout(patience)
        try:
            data = self.socket.recv(1 << 18)
        except (TimeoutError, socket.timeout):
            return False
        except (OSError, ssl.SSLError) as error:
            self.closed = str(error)
            return False
        if not data:
            self.closed = "end"
            return False
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.closed = f"protocol: {error}"
            return False
        for event in events:
            self.see(event)
        self.flush()
        return True

    def see(self, event):
        name = type(event).__name__
        if name == "RemoteSettingsChanged" and self.settings is None:
            changed = {code: setting.new_value for code, setting in event.changed_settings.items()}
            self.settings = {word: changed[code] for word, code in SETTINGS.items() if code in changed}
        elif name == "WindowUpdated" and event.stream_id == 0:
            self.window += event.delta
        elif name == "ResponseReceived":
            self.responses[event.stream_id] = dict(event.headers)
        elif name == "RequestReceived":
            self.requests[event.stream_id] = list(event.headers)
        elif name == "DataReceived":
            self.data.setdefault(event.stream_id, bytearray()).extend(event.data)
            if self.returned and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif name == "StreamEnded":
            self.ended.add(event.stream_id)
        elif name == "StreamReset":
            self.resets[event.stream_id] = int(event.error_code)
        elif name == "ConnectionTerminated":
            self.goaway = {"error": int(event.error_code), "last": event.last_stream_id}
        elif name == "PingReceived":
            self.pings += 1

    def until(self, condition, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or not self.step(left):
                break
        return bool(condition())

    def summary(self):
        return {
            "responses": {str(stream): headers for stream, headers in self.responses.items()},
            "resets": {str(stream): code for stream, code in self.resets.items()},
            "goaway": self.goaway,
            "closed": self.closed,
            "ended": sorted(self.ended),
            "pings": self.pings,
        }
