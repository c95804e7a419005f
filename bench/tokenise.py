"""Tokenisers: learning a vocabulary and encoding with it, in megabytes a second, ours and the peers'.

The fast path is set against the Rust library that it is built on, used directly with the same rules: what our checks
and conversions cost. The lesson in pure Python is set against minbpe, at a vocabulary and a corpus that minbpe can
finish. The corpus is the source of Python's standard library. Everybody must give the same merges and the same ids.
"""

import hashlib
import json
import statistics
import sysconfig
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness import OURS, Build, Candidate, Facts, installed, measure
from bench.ratios import compare, lines_of, target_lines

TITLE = "tokenisers: training and encoding, the fast path and the lesson"
ROUNDS = 5
WARMUP = 1

# bytes of corpus, vocabulary
SIZES = {"fast": (4_000_000, 4096), "lesson": (200_000, 512)}
QUICK_SIZES = {"fast": (100_000, 300), "lesson": (20_000, 270)}
PEERS: dict[str, dict[str, str | None]] = {"fast": {"tokenizers": "tokenizers"}, "lesson": {"minbpe": None}}
TARGETS = {"fast": 0.95, "lesson": 2.0}


def rows(options: Namespace) -> list[str]:
    """Both tokenisers, both ways."""
    return [f"{path} {task}" for path in SIZES for task in ("train", "encode")]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Measure one of our tokenisers against its peer."""
    path, task = row.split()
    size, vocab = (QUICK_SIZES if options.quick else SIZES)[path]
    peers, left_out = installed(PEERS[path], options.peers)
    if "minbpe" in peers and not options.minbpe:
        peers.remove("minbpe")
        left_out.append("minbpe")
    work = (path, task, size, vocab, options.minbpe, options.threads)
    candidates = {name: Candidate(prepare, (name, *work)) for name in (OURS, *peers)}
    record = measure(candidates, rounds=options.rounds, steps=options.steps, warmup=WARMUP, threads=options.threads)
    check_equal_work(record)
    facts = {"row": row, "vocabulary": vocab, "left_out": left_out} | compare(record, threads=options.threads)
    clock = "cpu_time" if options.threads == 1 else "wall_time"
    targets = [
        {"over": name, "at_least": TARGETS[path], "is": over[clock]["median"]}
        for name, over in facts["theirs_over_ours"].items()
    ]
    megabytes = record[OURS]["megabytes"]
    speeds = {
        name: megabytes / statistics.median(facts["cpu_seconds"])
        for name, facts in record.items()
        if "failed" not in facts
    }
    return facts | {"megabytes": megabytes, "megabytes_per_second": speeds, "targets": targets}


def lines(record: dict[str, Any]) -> str:
    """Kilobytes per second of processor time, memory and ratios, and how the target stands."""
    return "\n".join([lines_of(record, 1000 * record["megabytes"], "kB/s"), *target_lines(record["targets"])])


def prepare(peer: str, path: str, task: str, size: int, vocab: int, minbpe: str | None, threads: int) -> Build:
    """The build of one candidate: each step learns from, or encodes, the whole corpus."""
    import os

    os.environ["RAYON_NUM_THREADS"] = str(threads)
    texts = corpus(size)
    # Pure Python learns from one text; the fast path takes the files as they are, each a text of its own.
    train, encode = _fast(peer, vocab) if path == "fast" else _lesson(peer, vocab, minbpe)
    joined = ["".join(texts)] if path == "lesson" else texts

    def build() -> tuple[Callable[[], int], Facts]:
        learned, merges_of = train(joined)
        result = merges_of() if task == "train" else encode(learned, joined)
        facts = {"megabytes": sum(len(text) for text in joined) / 1e6, "result_sha256": _digest(result)}
        if task == "train":
            return lambda: len(train(joined)), facts
        return lambda: len(encode(learned, joined)), facts

    return build


Learned = Any
Train = Callable[[list[str]], tuple[Learned, Callable[[], list[tuple[int, int]]]]]  # with it, how to ask for the merges
Encode = Callable[[Learned, list[str]], list[list[int]]]


def _fast(peer: str, vocab: int) -> tuple[Train, Encode]:
    if peer == OURS:
        from transformer_lib.text.tokenizer import Tokenizer

        def ours(texts: list[str]) -> tuple[Learned, Callable[[], list[tuple[int, int]]]]:
            tokenizer = Tokenizer.train(texts, vocab)
            return tokenizer, lambda: tokenizer.to_bpe().merges

        return ours, lambda tokenizer, texts: tokenizer.encode_batch(texts)

    from tokenizers import Regex, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as RustTokenizer

    from transformer_lib.text.bpe import PATTERN
    from transformer_lib.text.tokenizer import ALPHABET

    def theirs(texts: list[str]) -> tuple[Learned, Callable[[], list[tuple[int, int]]]]:
        tokenizer = RustTokenizer(models.BPE())
        cut = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
        spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, spell])
        # The bytes as "special tokens" get the ids 0 to 255 in their order, as they have with us.
        trainer = trainers.BpeTrainer(vocab_size=vocab, min_frequency=2, special_tokens=ALPHABET, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.encode_special_tokens = True
        return tokenizer, lambda: _rust_merges(tokenizer)

    return theirs, lambda tokenizer, texts: [found.ids for found in tokenizer.encode_batch_fast(texts)]


def _rust_merges(tokenizer: Any) -> list[tuple[int, int]]:
    model = json.loads(tokenizer.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


def _lesson(peer: str, vocab: int, minbpe: str | None) -> tuple[Train, Encode]:
    from transformer_lib.text.bpe import BPE, PATTERN

    if peer == OURS:

        def ours(texts: list[str]) -> tuple[Learned, Callable[[], list[tuple[int, int]]]]:
            bpe = BPE.train(texts[0], vocab)
            return bpe, lambda: bpe.merges

        return ours, lambda bpe, texts: [bpe.encode(text) for text in texts]

    make = _minbpe(str(minbpe))

    def theirs(texts: list[str]) -> tuple[Learned, Callable[[], list[tuple[int, int]]]]:
        tokenizer = make(PATTERN)
        tokenizer.train(texts[0], vocab)
        return tokenizer, lambda: list(tokenizer.merges)

    return theirs, lambda tokenizer, texts: [tokenizer.encode_ordinary(text) for text in texts]


def _minbpe(path: str) -> Callable[[str], Any]:
    """The class of a checkout that cuts the text first; its package's own __init__ would ask for tiktoken."""
    import importlib
    import sys
    from types import ModuleType

    package = ModuleType("minbpe")
    package.__path__ = [f"{path}/minbpe"]
    sys.modules["minbpe"] = package
    module = importlib.import_module("minbpe.regex")
    # Of equally frequent pairs it takes the first that it met, we the lowest: for the same merges it follows our rule.
    vars(module)["max"] = _lowest_of_the_most_frequent
    return module.RegexTokenizer


def _lowest_of_the_most_frequent(counts: dict[tuple[int, int], int], key: Any) -> tuple[int, int]:
    most = max(counts.values())
    return min(pair for pair, count in counts.items() if count == most)


def corpus(size: int) -> list[str]:
    """The first ASCII files of Python's standard library, by name, up to about so many bytes."""
    folder, texts = Path(sysconfig.get_path("stdlib")), []
    for file in sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).as_posix()):
        if size <= 0:
            break
        if "site-packages" not in file.parts and (text := file.read_bytes()).isascii():
            texts.append(text[:size].decode())
            size -= len(text)
    return texts


def check_equal_work(record: dict[str, Facts]) -> None:
    """Merges, or ids, are the same for everybody; who gives others counts as failed."""
    for name, facts in record.items():
        if "failed" not in facts | record[OURS] and facts["result_sha256"] != record[OURS]["result_sha256"]:
            record[name] = {"failed": "other work: the merges or the ids are not ours"}


def _digest(result: Any) -> str:
    return hashlib.sha256(json.dumps(result).encode()).hexdigest()[:12]
