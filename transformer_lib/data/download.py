"""Files from the network: fetched once, checked against their sha256, kept in a cache.

A file is looked for in three places: the folder that `$TRANSFORMER_DATA` names, which is the reader's own and only ever
read; the user's cache; and its pinned address. What arrives is gathered beside its place as `*.partial`. Once all of it
is there, the bytes that have the right sha256 are written out, flushed to the disk, and given their name. A broken
transfer leaves its part behind, and the next try asks for the rest. No `If-Range` is needed for that: were the part of
another file, the sha256 of the whole would tell, and the file is fetched again from its first byte.

Of two processes that want the same file, one downloads while the other waits. The lock is the operating system's, which
releases it even if its holder is killed; a lock file created exclusively would stay, and a part with a name of its own
for each process would not be resumed. Where locks do not hold, as on some network file systems, two processes can spoil
their common part, but not the file: it is written from memory, under a name of its own, after the check.

This is the one module of the library, `book` apart, that reads the environment, and it does so in `places` alone. Left
out: mirrors, archives, passwords, and a bound on a server that keeps sending, but slowly.
"""

import hashlib
import os
import re
import ssl
import sys
import time
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from transformer_lib.config import require, require_numbers, require_positive
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.files import sha256_of, write_bytes

with needed():
    from filelock import FileLock

VARIABLE = "TRANSFORMER_DATA"
MOST_SECONDS, MOST_ATTEMPTS = 86_400, 16  # the last of so many waits 2**15 times the pause
_BLOCK = 1 << 16
_LOCK_SECONDS = 600.0
_NETWORK_ERRORS = (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@checked
@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file whose content is known: `name` is its path below a data folder, `size` its length in bytes."""

    name: str
    url: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        plain = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", self.name, re.ASCII) is not None
        require(plain, "name", "must be a path of plain names, each beginning with a letter or digit", self.name)
        require(self.url.startswith(("https://", "http://")), "url", "must begin with https:// or http://", self.url)
        require(re.fullmatch("[0-9a-f]{64}", self.sha256) is not None, "sha256", "must be 64 hex digits", self.sha256)
        require_positive(size=self.size)


class _Failed(Exception):
    """Why an attempt failed, and whether another might do better."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def places() -> tuple[Path | None, Path]:
    """The reader's own data folder, if `$TRANSFORMER_DATA` names one, and the cache where downloads are kept."""
    own = os.environ.get(VARIABLE)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else None, Path(base) / "transformer_lib"


@checked
def fetch(
    file: RemoteFile,
    *,
    folder: Path | None = None,
    cache: Path | None = None,
    attempts: int = 4,
    timeout: float = 20.0,
    pause: float = 0.5,
    progress: bool | None = None,
) -> Path:
    """Where the file lies on this machine, checked; downloaded if need be.

    `folder` and `cache` take the place of the two `places`. An attempt fails when the server is silent for `timeout`
    seconds; before the next ones the wait is 1, 3, 7, ... times `pause` seconds. A progress bar is shown on a terminal,
    or as `progress` says. A file in `folder` with another sha256 is a `ValueError` and stays as it is; a file that
    cannot be had is a `FileNotFoundError` that says how to put it there by hand.
    """
    require_positive(attempts=attempts)
    require_numbers(timeout=timeout, pause=pause)
    require(0 < timeout <= MOST_SECONDS, "timeout", f"must be above 0 and at most {MOST_SECONDS} seconds", timeout)
    require(0 <= pause <= MOST_SECONDS, "pause", f"must be from 0 to {MOST_SECONDS} seconds", pause)
    require(attempts <= MOST_ATTEMPTS, "attempts", f"must be at most {MOST_ATTEMPTS}", attempts)
    own, kept = places()
    folder, cache = folder or own, cache or kept
    if folder is not None:
        require(folder.is_dir(), f"folder (or ${VARIABLE})", "must be a folder", str(folder))
        if (folder / file.name).exists():
            found = sha256_of(folder / file.name)
            require(found == file.sha256, str(folder / file.name), f"must have the sha256 {file.sha256}", found)
            return folder / file.name
    target = cache / file.name
    if not _is_whole(target, file):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock"), timeout=_LOCK_SECONDS):
            if not _is_whole(target, file):  # another process may have fetched it while this one waited
                _download(file, target, attempts, timeout, pause, progress)
    return target


def _download(
    file: RemoteFile, target: Path, attempts: int, timeout: float, pause: float, progress: bool | None
) -> None:
    from tqdm import tqdm

    partial = target.with_name(target.name + ".partial")
    reason = ""
    hidden = None if progress is None else not progress  # tqdm's None: hidden unless on a terminal
    with tqdm(total=file.size, desc=file.name, unit="B", unit_scale=True, disable=hidden) as bar:
        for attempt in range(attempts):
            time.sleep(pause * (2**attempt - 1))
            try:
                content = _complete(partial, file, timeout, bar)
                write_bytes(target, content)
                partial.unlink(missing_ok=True)
                return
            except _Failed as failure:
                reason = str(failure)
                if not failure.again:
                    break
    if partial.exists() and partial.stat().st_size == 0:
        partial.unlink(missing_ok=True)
    raise FileNotFoundError(
        f"{file.name} is not on this machine, and downloading it from {file.url} failed: {reason}. Without network, "
        f"get the file elsewhere (sha256 {file.sha256}, {file.size} bytes) and save it as {target}, or as {file.name} "
        f"in a folder of your own that the environment variable {VARIABLE} names"
    )


def _complete(partial: Path, file: RemoteFile, timeout: float, bar: Any) -> bytes:
    """The whole content; or raise `_Failed`, and leave a part that a next attempt can build on."""
    with partial.open("a+b") as stream:
        start = stream.seek(0, os.SEEK_END)
        if start < file.size:
            start = _receive(file, stream, timeout, bar)
        have = stream.tell()
        if have < file.size:
            raise _Failed(f"the connection ended after {have} of {file.size} bytes", again=True)
        stream.seek(0)
        content = stream.read()
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            _clear(stream)
            what = f"more than {file.size} bytes" if have > file.size else f"other content, with sha256 {found}"
            # Only if a part from an earlier attempt may be to blame is there any hope in asking once more.
            raise _Failed(f"the server sent {what}", again=start > 0)
        return content


def _receive(file: RemoteFile, stream: BinaryIO, timeout: float, bar: Any) -> int:
    """Append what is missing, at most one byte too many; return from which byte on the server sent the file."""
    have = stream.tell()
    request = Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with build_opener(_Redirects).open(request, timeout=timeout) as response:
            start = _first_byte(response.status, response.headers)
            if start != have:  # the server does not send parts, or not this one
                _clear(stream)
                if start != 0:
                    raise _Failed("the server sent another part than it was asked for", again=True)
            have = start
            while have <= file.size and (block := response.read1(min(_BLOCK, file.size + 1 - have))):
                stream.write(block)
                have += len(block)
                bar.update(have - bar.n)
            return start
    except HTTPError as error:
        error.close()
        if error.code == 416:  # there is nothing after the part that is here: it is of another file
            _clear(stream)
        again = error.code in (408, 416, 425, 429) or error.code >= 500
        raise _Failed(f"HTTP {error.code}, {error.reason}", again=again) from error
    except _NETWORK_ERRORS as error:
        raise _Failed(f"{type(error).__name__}: {error}", again=True) from error


def _first_byte(status: int, headers: Message) -> int:
    """The place in the file of the first byte of a response; -1 for a part that does not say."""
    if status != 206:
        return 0
    said = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(said[1]) if said else -1


class _Redirects(HTTPRedirectHandler):
    """Follows a redirection, at most ten of them, but never from a secured connection to an open one."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if not newurl.startswith(("https://",) if req.type == "https" else ("https://", "http://")):
            raise _Failed(f"it redirects to {newurl}, which is less secure", again=False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and sha256_of(path) == file.sha256


def _clear(stream: BinaryIO) -> None:
    stream.seek(0)
    stream.truncate()
