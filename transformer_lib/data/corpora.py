"""A corpus that is on every machine: the source of Python's own standard library.

The files are listed here by name, and so is the split: whole files are held out, of many kinds (a parser, a network
protocol, a file format, a tool), and no held-out file repeats a passage of a training file. Every listed file is in
Python 3.11 to 3.14, is plain ASCII, and kept at least 92 % of its lines over those versions, so that a loss measured
under one of them is close to the loss under another. It is never the same number: quote such a loss as a band.

Left out: files that are mostly tables, near copies of one another across the split, and anything from the network.
"""

import sysconfig
from pathlib import Path
from platform import python_version
from typing import Literal, NamedTuple

from transformer_lib.contract import checked
from transformer_lib.files import read_text

_SMALL_TRAIN = """
_collections_abc.py abc.py collections/__init__.py compileall.py contextlib.py copyreg.py difflib.py filecmp.py
gettext.py operator.py optparse.py pstats.py py_compile.py pyclbr.py quopri.py rlcompleter.py sched.py shelve.py
tabnanny.py timeit.py
"""

_SMALL_HELD_OUT = """
cmd.py fileinput.py graphlib.py json/decoder.py
"""

_FULL_TRAIN = """
_markupbase.py _pyio.py asyncio/proactor_events.py asyncio/protocols.py asyncio/sslproto.py asyncio/subprocess.py
asyncio/transports.py base64.py bz2.py codecs.py concurrent/futures/_base.py doctest.py email/_encoded_words.py
email/_header_value_parser.py email/_parseaddr.py email/_policybase.py email/charset.py email/contentmanager.py
email/feedparser.py email/generator.py email/headerregistry.py email/quoprimime.py http/client.py http/cookiejar.py
http/cookies.py ipaddress.py logging/__init__.py lzma.py mailbox.py multiprocessing/context.py multiprocessing/heap.py
multiprocessing/managers.py multiprocessing/process.py multiprocessing/queues.py multiprocessing/reduction.py
multiprocessing/shared_memory.py multiprocessing/sharedctypes.py multiprocessing/spawn.py
multiprocessing/synchronize.py pickletools.py plistlib.py poplib.py profile.py re/_compiler.py smtplib.py
socketserver.py subprocess.py trace.py tracemalloc.py unittest/main.py unittest/mock.py unittest/result.py
wsgiref/handlers.py wsgiref/headers.py wsgiref/validate.py xml/dom/expatbuilder.py xml/dom/minidom.py
xml/dom/xmlbuilder.py xml/etree/ElementInclude.py xml/etree/ElementPath.py xml/etree/ElementTree.py
xml/sax/expatreader.py xml/sax/handler.py xml/sax/saxutils.py xml/sax/xmlreader.py xmlrpc/client.py
"""

_FULL_HELD_OUT = """
asyncio/streams.py email/header.py multiprocessing/pool.py pprint.py re/_parser.py unittest/suite.py wave.py
xml/dom/pulldom.py xmlrpc/server.py
"""


@checked
class Document(NamedTuple):
    """One file: its name relative to the corpus, and its text with `\\n` line ends."""

    name: str
    text: str


@checked
class Corpus(NamedTuple):
    """Documents to train on and documents to measure on, sorted by name."""

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]


@checked
def stdlib_source(size: Literal["small", "full"] = "full", *, folder: Path | None = None) -> Corpus:
    """The standard library's source, split by file.

    `"small"` is about 440 kB to train on and 53 kB held out, for runs of under a minute; `"full"`, which contains it,
    is about 2.5 MB and 0.29 MB. `folder` defaults to the library of the running Python. If a listed file is missing,
    nothing is read and `FileNotFoundError` names every such file: a corpus that shrinks in silence would change
    every loss measured on it.
    """
    train, held_out = _SMALL_TRAIN.split(), _SMALL_HELD_OUT.split()
    if size == "full":
        train += _FULL_TRAIN.split()
        held_out += _FULL_HELD_OUT.split()
    folder = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    missing = [name for name in train + held_out if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} file(s) of the corpus are not in {folder} (Python {python_version()}; the corpus is "
            f"defined for 3.11 to 3.14 with their source installed): {', '.join(missing)}"
        )
    return Corpus(_read(folder, train), _read(folder, held_out))


def _read(folder: Path, names: list[str]) -> tuple[Document, ...]:
    # A Windows installation ends its lines in \r\n; the text is to be the same everywhere.
    return tuple(Document(name, read_text(folder / name).replace("\r\n", "\n")) for name in sorted(names))
