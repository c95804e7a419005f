import errno
import hashlib
import math
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import unreliable
from transformer_lib.data.download import RemoteFile, _Failed, _Redirects, fetch, places

CONTENT, HALF = unreliable.CONTENT, unreliable.HALF
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "set/file.txt"


@contextmanager
def running():
    server = unreliable.Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    for name in ("TRANSFORMER_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def file_at(url):
    return RemoteFile(NAME, url, SHA256, len(CONTENT))


PATIENT, IMPATIENT = 600.0, 0.5  # seconds: a busy machine must not look like a silent server


def get(server, cache, **settings):
    return fetch(file_at(server.url), cache=cache, **({"pause": 0.0, "timeout": PATIENT} | settings))


def fail_once(server, cache, fault):
    """One attempt that fails; it is over only when the server has heard of it, which may be later."""
    server.script = [fault]
    timeout = IMPATIENT if fault in SILENT else PATIENT
    with pytest.raises(FileNotFoundError):
        get(server, cache, attempts=1, timeout=timeout)
    wait_for_requests(server, 1)


def wait_for_requests(server, count):
    while len(server.asked) < count:
        server.closing.wait(0.01)


def nothing_but_a_part(cache):
    """The names in the cache, locks apart; what has its final name must be whole."""
    names = {path.name for path in (cache / "set").iterdir()} - {"file.txt.lock"}
    assert names <= {"file.txt.partial"}
    return names


# ---- what goes well in the end ----


def test_a_file_is_downloaded_once(server, tmp_path):
    for _ in range(2):
        path = get(server, tmp_path)
        assert path == tmp_path / NAME and path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert not path.with_name("file.txt.partial").exists()


SILENT = [unreliable.stall, unreliable.say_nothing]  # a client can but wait
RESUMED = [unreliable.truncate, unreliable.claim_less]
TORN = [unreliable.reset, unreliable.break_a_chunk, unreliable.stall]  # how much arrives of what was sent is not known
REPEATED = [
    *(unreliable.hang_up, unreliable.garble, unreliable.send_an_unnamed_part),
    *(unreliable.send_another_part, *map(unreliable.status, (408, 416, 425, 429, 500, 502, 503, 504))),
]
MENDED = [unreliable.claim_more, unreliable.claim_nothing, unreliable.refuse_ranges]


@pytest.mark.parametrize("fault", RESUMED)
def test_a_broken_transfer_is_resumed(server, tmp_path, fault):
    server.script = [fault]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("fault", TORN)
def test_a_torn_transfer_is_resumed_from_where_it_tore(server, tmp_path, fault):
    fail_once(server, tmp_path, fault)
    have = (tmp_path / "set/file.txt.partial").stat().st_size if nothing_but_a_part(tmp_path) else 0
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={have}-" if have else None]


def test_a_server_that_said_nothing_is_asked_again(server, tmp_path):
    fail_once(server, tmp_path, unreliable.say_nothing)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


@pytest.mark.parametrize("fault", REPEATED)
def test_what_may_pass_is_tried_again(server, tmp_path, fault):
    server.script = [fault]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


@pytest.mark.parametrize("fault", MENDED)
def test_a_length_that_lies_but_content_that_does_not(server, tmp_path, fault):
    server.script = [fault]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None]


@pytest.mark.parametrize("attempt", [unreliable.refuse_ranges, unreliable.send_another_part, unreliable.status(416)])
def test_the_rest_is_not_to_be_had(server, tmp_path, attempt):
    """A server that sends no parts, or the wrong one, or says that there is nothing more: from the start, then."""
    server.script = [unreliable.truncate, attempt]
    assert get(server, tmp_path).read_bytes() == CONTENT
    again = [] if attempt is unreliable.refuse_ranges else [None]
    assert server.asked == [None, f"bytes={HALF}-", *again]


def test_a_later_call_resumes(server, tmp_path):
    server.script = [unreliable.truncate]
    with pytest.raises(FileNotFoundError, match=f"the connection ended after {HALF} of {len(CONTENT)} bytes"):
        get(server, tmp_path, attempts=1)
    assert nothing_but_a_part(tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("part", [CONTENT[:HALF], CONTENT], ids=["half", "all"])
def test_a_part_of_another_file_is_found_out(server, tmp_path, part):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.txt.partial").write_bytes(part[:-1] + b"!")
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ([f"bytes={HALF}-", None] if len(part) == HALF else [None])


def test_a_part_that_is_too_long_is_found_out(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.txt.partial").write_bytes(CONTENT + b"!")
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_all_there_needs_no_server(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.txt.partial").write_bytes(CONTENT)
    assert fetch(file_at("http://127.0.0.1:1/"), cache=tmp_path).read_bytes() == CONTENT


def test_damage_in_the_cache_is_noticed_and_mended(server, tmp_path):
    path = get(server, tmp_path)
    path.write_bytes(b"!" + CONTENT[1:])
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_redirections_are_followed_with_the_range(server, tmp_path):
    server.script = [unreliable.redirect("/elsewhere"), unreliable.truncate, unreliable.redirect("/there")]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None, f"bytes={HALF}-", f"bytes={HALF}-"]


# ---- what goes wrong ----


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (unreliable.send_wrong_bytes, "the server sent other content, with sha256 [0-9a-f]{64}"),
        (unreliable.send_forever, f"the server sent more than {len(CONTENT)} bytes"),
        (unreliable.status(401), "HTTP 401, Unauthorized"),
        (unreliable.status(403), "HTTP 403, Forbidden"),
        (unreliable.status(404), "HTTP 404, Not Found"),
        (unreliable.status(410), "HTTP 410, Gone"),
        (unreliable.redirect("file:///etc/passwd"), "HTTP 302, .* 'file:///etc/passwd' is not allowed"),
        (unreliable.redirect("ftp://127.0.0.1/file"), "it redirects to ftp://127.0.0.1/file, which is less secure"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(server, tmp_path, fault, reason):
    server.script = [fault] * 5
    with pytest.raises(FileNotFoundError, match=reason):
        get(server, tmp_path)
    assert server.asked == [None]
    assert nothing_but_a_part(tmp_path) == set()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (unreliable.stall, "TimeoutError: timed out"),
        (unreliable.say_nothing, "TimeoutError: timed out"),
        (unreliable.reset, "ConnectionResetError: .*"),
        (unreliable.hang_up, "RemoteDisconnected: Remote end closed connection without response"),
        (unreliable.garble, "BadStatusLine: not HTTP at all"),
        (unreliable.status(503), "HTTP 503, Service Unavailable"),
        (unreliable.truncate, r"the connection ended after \d+ of \d+ bytes"),
    ],
)
def test_attempts_are_bounded(server, tmp_path, fault, reason):
    server.script = [fault] * 5
    with pytest.raises(FileNotFoundError, match=reason):
        get(server, tmp_path, attempts=3, timeout=IMPATIENT if fault in SILENT else PATIENT)
    wait_for_requests(server, 3)
    assert len(server.asked) == 3
    nothing_but_a_part(tmp_path)


def test_redirections_that_never_end(server, tmp_path):
    server.script = [unreliable.redirect("/file")] * 50
    with pytest.raises(FileNotFoundError, match=r"HTTP 302, .*infinite loop"):
        get(server, tmp_path)
    assert len(server.asked) < 12
    assert nothing_but_a_part(tmp_path) == set()


def test_no_redirection_to_less_security():
    def follow(before, after):
        return _Redirects().redirect_request(Request(before), None, 302, "Found", {}, after)

    for before, after in (("http://a/b", "https://c/d"), ("http://a/b", "http://c/d"), ("https://a/b", "https://c/d")):
        assert follow(before, after).full_url == after
    for after in ("http://a/b", "ftp://a/b", "file:///a"):
        with pytest.raises(_Failed, match="which is less secure"):
            follow("https://a/b", after)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/train.txt", "https://nowhere.invalid/train.txt"])
def test_without_network_the_message_says_what_to_do(tmp_path, url):
    with pytest.raises(FileNotFoundError) as caught:
        fetch(file_at(url), cache=tmp_path, attempts=2, pause=0.0)
    message = str(caught.value)
    for part in (NAME, url, SHA256, str(len(CONTENT)), str(tmp_path / NAME), "TRANSFORMER_DATA", "URLError"):
        assert part in message
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(file_at(url), cache=tmp_path) == tmp_path / NAME


@given(
    st.lists(st.sampled_from([*RESUMED, *TORN, *REPEATED, *MENDED, *SILENT, unreliable.send_wrong_bytes]), max_size=5)
)
def test_whatever_happens_nothing_corrupt_is_kept(script):
    with running() as server, TemporaryDirectory() as cache:
        server.script = [*script]
        try:
            path = get(server, Path(cache), timeout=0.1)
        except FileNotFoundError:
            nothing_but_a_part(Path(cache))
            if unreliable.send_wrong_bytes not in script:
                wait_for_requests(server, 4)
            server.script = []
            path = get(server, Path(cache))
        assert path.read_bytes() == CONTENT


# ---- several processes ----

PROGRAM = """
import sys
from pathlib import Path
from transformer_lib.data.download import RemoteFile, fetch
name, url, sha256, size, cache = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(fetch(RemoteFile(name, url, sha256, int(size)), cache=Path(cache), timeout=600.0))
"""


def start(url, cache):
    command = [sys.executable, "-c", PROGRAM, NAME, url, SHA256, str(len(CONTENT)), str(cache)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def wait_for_part(cache, process):
    part = cache / "set/file.txt.partial"
    while not (part.exists() and part.stat().st_size > 0):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_two_processes_download_once(server, tmp_path):
    going = threading.Event()

    def slowly(handler):
        data = unreliable.rest(handler)
        handler.wfile.write(data[:HALF])
        handler.wfile.flush()
        going.wait()
        handler.wfile.write(data[HALF:])

    server.script = [slowly]
    first, second = (start(server.url, tmp_path) for _ in range(2))
    go(first)
    wait_for_requests(server, 1)
    go(second)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.5)  # it waits for the first
    going.set()
    for process in (first, second):
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert out == f"{tmp_path / NAME}\n"
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_killed_process_leaves_its_part_and_no_lock(server, tmp_path):
    server.script = [unreliable.stall]
    process = start(server.url, tmp_path)
    go(process)
    wait_for_part(tmp_path, process)
    process.kill()
    process.communicate()
    part = (tmp_path / "set/file.txt.partial").stat().st_size
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={part}-"]


def test_where_locks_do_not_hold_nothing_corrupt_is_kept(server, tmp_path, monkeypatch):
    class NoLock:
        def __init__(self, *args, **settings): ...
        def __enter__(self): ...
        def __exit__(self, *error): ...

    monkeypatch.setattr("transformer_lib.data.download.FileLock", NoLock)
    read = []

    def run():
        with suppress(FileNotFoundError):  # they may spoil one another's part
            read.append(get(server, tmp_path).read_bytes())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read) <= {CONTENT}
    path = tmp_path / NAME
    assert not path.exists() or path.read_bytes() == CONTENT


# ---- the places ----


def test_the_readers_folder_comes_first(server, tmp_path, monkeypatch):
    (tmp_path / "own/set").mkdir(parents=True)
    (tmp_path / "own" / NAME).write_bytes(CONTENT)
    assert fetch(file_at(server.url), folder=tmp_path / "own") == tmp_path / "own" / NAME
    monkeypatch.setenv("TRANSFORMER_DATA", str(tmp_path / "own"))
    assert fetch(file_at(server.url)) == tmp_path / "own" / NAME
    assert server.asked == []
    assert places() == (tmp_path / "own", tmp_path / "home/transformer_lib")


def test_what_the_readers_folder_lacks_is_downloaded_to_the_cache(server, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("TRANSFORMER_DATA", str(tmp_path / "own"))
    assert fetch(file_at(server.url)) == tmp_path / "home/transformer_lib" / NAME
    assert list((tmp_path / "own").iterdir()) == []


def test_a_wrong_file_in_the_readers_folder_is_refused_and_stays(server, tmp_path):
    path = tmp_path / "own" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    found = hashlib.sha256(b"mine").hexdigest()
    with pytest.raises(ValueError, match=f"{path} must have the sha256 {SHA256}, got '{found}'"):
        fetch(file_at(server.url), folder=tmp_path / "own")
    assert path.read_bytes() == b"mine" and server.asked == []


def test_a_readers_folder_that_is_none_is_refused(server, monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFORMER_DATA", str(tmp_path / "mistyped"))
    with pytest.raises(ValueError, match=r"folder \(or \$TRANSFORMER_DATA\) must be a folder, got .*mistyped"):
        fetch(file_at(server.url))


@pytest.mark.parametrize(
    ("system", "variable", "below"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache"),
        ("darwin", None, "Library/Caches"),
        ("win32", "LOCALAPPDATA", "AppData/Local"),
    ],
)
def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path, system, variable, below):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert places() == (None, tmp_path / below / "transformer_lib")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
        assert places() == (None, tmp_path / "elsewhere/transformer_lib")


@pytest.mark.parametrize("shown", [False, True])
def test_the_progress_bar_reaches_the_end(server, tmp_path, capfd, shown):
    server.script = [unreliable.truncate, unreliable.refuse_ranges]
    get(server, tmp_path, progress=shown)
    assert ("100%" in capfd.readouterr().err) == shown


def test_settings_that_make_no_sense(server, tmp_path):
    for setting in (
        *({"attempts": 0}, {"attempts": 10**9}, {"timeout": 0.0}, {"timeout": math.inf}, {"timeout": math.nan}),
        *({"timeout": 1e300}, {"pause": -1.0}, {"pause": math.inf}),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(setting))} must"):
            get(server, tmp_path, **setting)


def test_a_full_disk_is_one_error_and_leaves_no_second_copy(server, tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            get(server, tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert left == {f"{Path(NAME).name}.partial"}, "the part that the next try builds on, and nothing else"
    requests = len(server.asked)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == requests, "the part was whole"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_in_the_readers_folder_is_refused_without_waiting(server, tmp_path):
    own = tmp_path / "own"
    (own / NAME).parent.mkdir(parents=True)
    os.mkfifo(own / NAME)
    with pytest.raises(ValueError, match="path must be a regular file"):
        get(server, tmp_path, folder=own)


NAMES = ["", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a/", r"a\b", "C:/a", ".hidden", "a/.b", "a\n", "a b", "ä"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_cannot_lead_out_of_the_folder(name):
    with pytest.raises(ValueError, match="name must be a path of plain names"):
        RemoteFile(name, "https://a/b", SHA256, 1)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"url": "ftp://a/b"}, "url must begin with https:// or http://"),
        ({"url": "file:///a"}, "url must begin with https:// or http://"),
        ({"sha256": SHA256[1:]}, "sha256 must be 64 hex digits"),
        ({"sha256": SHA256.upper()}, "sha256 must be 64 hex digits"),
        ({"size": 0}, "size must be a whole number of at least 1"),
    ],
)
def test_a_file_must_be_fully_described(changed, complaint):
    with pytest.raises(ValueError, match=complaint):
        RemoteFile(**({"name": NAME, "url": "https://a/b", "sha256": SHA256, "size": 1} | changed))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user who may not write everywhere")
def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        get(server, tmp_path)


def test_a_wrong_file_of_the_right_size_is_refused_too(server, tmp_path):
    path = tmp_path / "own" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ValueError, match=f"{path} must have the sha256 {SHA256}"):
        fetch(file_at(server.url), folder=tmp_path / "own")
    assert path.read_bytes() == CONTENT[:-1] + b"!" and server.asked == []
