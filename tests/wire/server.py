"""A server of tunnels that is not Sidestep's own. It is the app too: streams that it accepts are sent back what they send."""

import socket
import ssl
import sys

import ends


def main():
    given = ends.arguments(__doc__)
    behave = BEHAVIOURS[given.scenario]
    context = ends.context(given, "server")
    listener = socket.create_server(ends.split(given.address))
    ends.tell(listening=given.address)
    connections = 0
    while True:
        raw, peer = listener.accept()
        connections += 1
        try:
            secured = context.wrap_socket(raw, server_side=True)
        except (OSError, ssl.SSLError) as error:
            ends.tell(handshake=str(error))
            continue
        end = ends.End(secured, "server")
        ends.tell(connection=connections, peer=ends.uri_of(secured), alpn=secured.selected_alpn_protocol())
        end.begin()
        behave(end, connections)
        ends.tell(over=connections, **end.summary())
        secured.close()


def tell_requests(end, told):
    for stream in end.requests:
        if stream not in told:
            told.add(stream)
            ends.tell(request=end.requests[stream], settings=end.settings, window=end.window)


def echo(end, _connection, answer=200, most=None):
    """Answers every request and sends back what comes, until the client closes."""
    told, done, sent = set(), set(), {}
    while not end.closed:
        end.step()
        tell_requests(end, told)
        for stream in list(end.requests):
            if stream in done:
                continue
            if stream not in sent:
                sent[stream] = 0
                headers = [(":status", str(answer)), ("baggage", "k8s.namespace.name=abroad,k8s.pod.name=foreign-1")]
                end.h2.send_headers(stream, headers, end_stream=answer != 200)
            if answer != 200 or stream in end.resets:
                done.add(stream)
                continue
            held = end.data.get(stream, b"")
            room = min(end.h2.local_flow_control_window(stream), end.h2.max_outbound_frame_size)
            piece = bytes(held[sent[stream]:sent[stream] + room])
            if piece:
                end.h2.send_data(stream, piece)
                sent[stream] += len(piece)
            if stream in end.ended and sent[stream] == len(held):
                end.h2.end_stream(stream)
                done.add(stream)
        end.flush()
        if most is not None and len(done) >= most:
            return


def deny(end, connection):
    echo(end, connection, answer=401)


def unavailable(end, connection):
    echo(end, connection, answer=503)


def refuse_first(end, connection):
    """The first connection refuses its second stream unseen (REFUSED_STREAM); the next serves it."""
    if connection > 1:
        return echo(end, connection)
    echo(end, connection, most=1)
    end.until(lambda: len(end.requests) > 1)
    end.h2.reset_stream(max(end.requests), error_code=7)
    end.flush()
    end.until(lambda: end.closed)


def leave(end, connection):
    """Every connection says farewell after its first stream, and ends with it."""
    echo(end, connection, most=1)
    end.h2.close_connection(last_stream_id=max(end.requests))
    end.flush()


def vanish(end, connection):
    """The first connection ends without a word after its first stream."""
    echo(end, connection, most=1 if connection == 1 else None)


BEHAVIOURS = {
    "echo": echo,
    "deny": deny,
    "unavailable": unavailable,
    "refuse-first": refuse_first,
    "leave": leave,
    "vanish": vanish,
}

if __name__ == "__main__":
    main()
