"""A server on this machine that misbehaves as it is told, one way per request, and behaves from then on."""

import re
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(i * i % 251 for i in range(200_000))
HALF = len(CONTENT) // 2


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked.append(self.headers["Range"])
            behave = self.server.script.pop(0) if self.server.script else answer
        behave(self)
        self.close_connection = True

    def log_message(self, *args: object) -> None: ...


class Server(ThreadingHTTPServer):
    """`script` holds how the next requests are answered, `asked` the `Range` of each that came."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Callable[[Handler], None]] = []
        self.asked: list[str | None] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/file"

    def handle_error(self, request: object, client_address: object) -> None: ...


def head(handler: Handler, status: int, **headers: object) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def rest(handler: Handler) -> bytes:
    """What is still to be sent, after a head that says so."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
    start = int(asked[1]) if asked else 0
    if start >= len(CONTENT):
        head(handler, 416, Content_Range=f"bytes */{len(CONTENT)}")
        return b""
    if asked:
        said = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        head(handler, 206, Content_Length=len(CONTENT) - start, Content_Range=said)
    else:
        head(handler, 200, Content_Length=len(CONTENT))
    return CONTENT[start:]


def answer(handler: Handler) -> None:
    handler.wfile.write(rest(handler))


def truncate(handler: Handler) -> None:
    data = rest(handler)
    handler.wfile.write(data[: len(data) // 2])


def stall(handler: Handler) -> None:
    truncate(handler)
    handler.wfile.flush()
    handler.server.closing.wait()


def say_nothing(handler: Handler) -> None:
    handler.server.closing.wait()


def reset(handler: Handler) -> None:
    """Half of the rest, then RST in place of FIN."""
    truncate(handler)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def garble(handler: Handler) -> None:
    handler.wfile.write(b"not HTTP at all\r\n\r\n")


def refuse_ranges(handler: Handler) -> None:
    head(handler, 200, Content_Length=len(CONTENT))
    handler.wfile.write(CONTENT)


def send_another_part(handler: Handler) -> None:
    said = f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"
    head(handler, 206, Content_Length=len(CONTENT) - 7, Content_Range=said)
    handler.wfile.write(CONTENT[7:])


def send_an_unnamed_part(handler: Handler) -> None:
    head(handler, 206, Content_Length=7)
    handler.wfile.write(CONTENT[:7])


def send_wrong_bytes(handler: Handler) -> None:
    data = bytes(255 - byte for byte in rest(handler))
    handler.wfile.write(data)


def send_forever(handler: Handler) -> None:
    head(handler, 200)
    while not handler.server.closing.is_set():
        handler.wfile.write(bytes(1 << 16))  # ends with a broken pipe, when the client has had enough


def claim_less(handler: Handler) -> None:
    head(handler, 200, Content_Length=HALF)
    handler.wfile.write(CONTENT)


def claim_more(handler: Handler) -> None:
    head(handler, 200, Content_Length=len(CONTENT) + 1)
    handler.wfile.write(CONTENT)


def claim_nothing(handler: Handler) -> None:
    head(handler, 200)
    handler.wfile.write(CONTENT)


def break_a_chunk(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    head(handler, 200, Transfer_Encoding="chunked")
    handler.wfile.write(b"%x\r\n" % HALF + CONTENT[:HALF] + b"\r\n%x\r\n" % HALF + CONTENT[HALF : HALF + 10])


def status(code: int) -> Callable[[Handler], None]:
    def send_status(handler: Handler) -> None:
        head(handler, code, Content_Length=9)
        handler.wfile.write(b"some text")

    send_status.__name__ = f"status_{code}"
    return send_status


def redirect(url: str) -> Callable[[Handler], None]:
    return lambda handler: head(handler, 302, Location=url)
