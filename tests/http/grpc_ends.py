"""Both ends of gRPC by grpcio. Messages are plain bytes: no schema is needed to watch them travel."""

import hashlib
import threading
import time
from concurrent import futures

import grpc

from told import run, tell

SERVICE = "sidestep.test.Echo"
LARGEST = 32 << 20
SIZES = [("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)]
# Found in the environment, a proxy would be asked instead of the address.
OPTIONS = [*SIZES, ("grpc.enable_http_proxy", 0)]


def unary(request, context):
    """Sends back what it got, with who asked in front and the caller's metadata behind the answer."""
    seen = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-server", "grpcio"),))
    context.set_trailing_metadata((("x-echo", seen.get("x-client", "")), ("x-bytes-bin", bytes(range(16)))))
    if "x-client" in seen:
        tell(call="unary", peer=context.peer(), metadata=sorted(seen))
    return request


def server_stream(request, _context):
    for number in range(int(request)):
        yield b"%d" % number


def client_stream(requests, _context):
    """The sum of what it was sent: how many, and their digest."""
    count, digest = 0, hashlib.sha256()
    for request in requests:
        count += 1
        digest.update(request)
    return f"{count} {digest.hexdigest()}".encode()


def both_streams(requests, _context):
    for request in requests:
        yield request


def fail(_request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 % – niente")


def wait(_request, context):
    """Answers nothing until its caller has gone."""
    gone = threading.Event()
    context.add_callback(gone.set)
    tell(call="wait")
    left = context.time_remaining()
    tell(cancelled=gone.wait(20), deadline=left is not None and left < 60)
    return b""


def begin_and_fail(_request, context):
    """A few messages, then an error: the status is in trailers behind data."""
    for number in range(3):
        yield b"%d" % number
    context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "BothStreams": grpc.stream_stream_rpc_method_handler(both_streams),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "BeginAndFail": grpc.unary_stream_rpc_method_handler(begin_and_fail),
}


def serve(address):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
    if server.add_insecure_port(address) == 0:
        raise SystemExit(f"{address} could not be listened on")
    server.start()
    tell(listening=address)
    server.wait_for_termination()


def opened(address):
    return grpc.insecure_channel(address, options=OPTIONS)


def ask_unary(address):
    with opened(address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Unary")
        answer, rest = call.with_call(b"hello", metadata=(("x-client", "curious"),), timeout=10)
        trailing = {key: value if isinstance(value, str) else value.hex() for key, value in rest.trailing_metadata()}
        tell(answer=answer.decode(), initial=dict(rest.initial_metadata()), trailing=trailing)


def ask_streams(address):
    """Each kind of stream; in the one that goes both ways no message is sent before the last was answered."""
    with opened(address) as channel:
        numbers = [int(each) for each in channel.unary_stream(f"/{SERVICE}/ServerStream")(b"1000", timeout=20)]
        parts = [bytes([number % 256]) * 1000 for number in range(500)]
        summed = channel.stream_unary(f"/{SERVICE}/ClientStream")(iter(parts), timeout=20).decode()
        turn = threading.Semaphore(1)
        count = 0

        def questions():
            for number in range(100):
                turn.acquire(timeout=10)
                yield b"%d" % number

        for answer in channel.stream_stream(f"/{SERVICE}/BothStreams")(questions(), timeout=20):
            if int(answer) != count:
                break
            count += 1
            turn.release()
    expected = f"500 {hashlib.sha256(b''.join(parts)).hexdigest()}"
    tell(server=numbers == list(range(1000)), client=summed == expected, both=count)


def ended(call):
    """How a call ended: its code, its words and its trailing metadata."""
    try:
        call()
    except grpc.RpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        return {"code": error.code().name, "details": error.details(), "trailing": trailing}
    return {"code": "OK"}


def ask_errors(address):
    with opened(address) as channel:
        at_once = ended(lambda: channel.unary_unary(f"/{SERVICE}/Fail")(b"", timeout=10))
        unknown = ended(lambda: channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=10))
        heard = []
        late = ended(lambda: heard.extend(channel.unary_stream(f"/{SERVICE}/BeginAndFail")(b"", timeout=10)))
    tell(at_once=at_once, unknown=unknown, late=late, heard=len(heard))


def ask_deadline(address):
    with opened(address) as channel:
        began = time.monotonic()
        late = ended(lambda: channel.unary_unary(f"/{SERVICE}/Wait")(b"", timeout=0.5))
        tell(code=late["code"], after=time.monotonic() - began)


def ask_cancel(address):
    with opened(address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Wait").future(b"", timeout=30)
        time.sleep(0.3)
        call.cancel()
        # The channel stays: what ends the call is its reset and not the connection's end.
        again = channel.unary_unary(f"/{SERVICE}/Unary")(b"still here", timeout=10)
        tell(cancelled=call.cancelled(), again=again.decode())


def ask_large(address):
    large = bytes(range(256)) * (16 << 12)
    with opened(address) as channel:
        answer = channel.unary_unary(f"/{SERVICE}/Unary")(large, timeout=30)
    tell(bytes=len(large), same=answer == large)


def ask_many(address, count="1000"):
    """Many calls at once on one connection."""
    good = 0
    with opened(address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Unary")
        waiting = [(number, call.future(b"%d" % number, timeout=30)) for number in range(int(count))]
        for number, future in waiting:
            good += future.result() == b"%d" % number
    tell(good=good)


def ask_dead(address):
    """A server that does not answer at all."""
    with opened(address) as channel:
        tell(**ended(lambda: channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=10)))


SCENARIOS = {
    "serve": serve,
    "unary": ask_unary,
    "streams": ask_streams,
    "errors": ask_errors,
    "deadline": ask_deadline,
    "cancel": ask_cancel,
    "large": ask_large,
    "many": ask_many,
    "dead": ask_dead,
}

if __name__ == "__main__":
    run(SCENARIOS, __doc__)
