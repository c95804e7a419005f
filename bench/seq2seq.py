"""One training step of an encoder-decoder on sentence pairs of unequal length, ours and the peers', on the CPU.

A step is what it is in `bench.train_step`. Tokens are random; lengths are like those of Multi30k, so a third of the
positions of a batch is padding, and speed is counted in real tokens, source and target. The row `bucketed` asks what
batches of like length bring: one epoch of ours in `BucketedBatches` beside one in random batches of the same budget.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from bench.harness import OURS, Build, Candidate, Facts, installed, measure
from bench.machine import has_bfloat16
from bench.ratios import best_of_its_family, clock_of, compare, lines_of, target_lines
from bench.train_step import TOLERANCE, check_equal_work

TITLE = "one training step of an encoder-decoder: precision; bucketed: an epoch of ours against random batches"
ROUNDS = 8
BUCKETED_ROUNDS = 5  # its step is a whole epoch

# layers a side, d_model, heads, vocabulary, pairs a batch, pairs, longest
SIZES = {"full": (3, 256, 8, 8192, 64, 512, 64), "quick": (1, 32, 4, 512, 16, 64, 64)}
PEERS: dict[str, str | None] = {
    "torch": None,
    "marian": "transformers",
    "t5": "transformers",
    "x-transformers": "x-transformers",
}
QUICK_PEERS = ("torch", "marian", "t5")
RANDOM = f"{OURS}-random"
FAMILIES = ((OURS, "torch", "marian"),)


def rows(options: Namespace) -> list[str]:
    """Without instructions for bfloat16 its row is left out, as in `bench.train_step`."""
    precisions = ["float32", "bfloat16"] if has_bfloat16() and not options.quick else ["float32"]
    return [*precisions, "bucketed float32"]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Measure one row: the raw record and the ratios."""
    size = "quick" if options.quick else "full"
    *bucketed, precision = row.split()
    if bucketed:
        candidates = {name: Candidate(prepare_epoch, (name, size, precision)) for name in (OURS, RANDOM)}
        rounds, warmup, left_out = min(options.rounds, BUCKETED_ROUNDS), 1, []
    else:
        peers, left_out = installed(PEERS, options.peers or (QUICK_PEERS if options.quick else None))
        candidates = {name: Candidate(prepare, (name, size, precision)) for name in (OURS, *peers)}
        rounds, warmup = options.rounds, 2
    record = measure(candidates, rounds=rounds, steps=options.steps, warmup=warmup, threads=options.threads)
    if not bucketed:
        check_equal_work(record, TOLERANCE[precision], FAMILIES)
    family = dict.fromkeys(FAMILIES[0], OURS)  # T5 and x-transformers are of another architecture
    like = {name: OURS if name == RANDOM else family.get(name) for name in record}
    facts = {"row": row, "left_out": left_out} | compare(record, threads=options.threads, like=like)
    return facts | {"targets": targets(facts, options.threads)}


def targets(facts: Facts, threads: int) -> list[Facts]:
    """As fast as the best peer; and buckets 1.2 times as fast as random batches of the same budget."""
    if RANDOM not in facts["candidates"]:
        return best_of_its_family(facts, threads)
    reached = facts["theirs_over_ours"].get(RANDOM)
    if reached is None:
        return []
    text, median = ">= 1.2 x the speed in random batches", reached[clock_of(threads, "cpu")]["median"]
    return [{"target": text, "over": RANDOM, "at_least": 1.2, "is": median}]


def lines(record: dict[str, Any]) -> str:
    """Real tokens per second of processor time, memory and ratios."""
    ours = record["candidates"][OURS]
    real = f"  {ours['real_share']:.2f} of the positions are real"
    if other := record["candidates"].get(RANDOM):
        real += f", {other['real_share']:.2f} in random batches"
    return "\n".join([lines_of(record, ours["real_tokens"]), real, *target_lines(record["targets"])])


def prepare(peer: str, size_name: str, precision: str) -> Build:
    """The build of one candidate, which goes through the same batches as the others; runs in its worker."""
    from bench import peers_seq2seq as peers
    from bench.peers import stepper

    makers = {
        OURS: peers.ours,
        "torch": peers.torch_transformer,
        "marian": peers.marian,
        "t5": peers.t5,
        "x-transformers": peers.x_transformers,
    }
    make = makers[peer]()

    def build() -> tuple[Callable[[], Any], Facts]:
        size = peers.Size(*SIZES[size_name])
        model, loss_of = make(size)
        step = stepper(model, loss_of, precision)
        sides = peers.lengths(size)
        groups = [list(range(start, start + size.batch)) for start in range(0, size.pairs, size.batch)]
        batches = [peers.batch_of(size, rows, sides) for rows in groups]
        turn = 0

        def next_step() -> Any:
            nonlocal turn
            turn += 1
            return step(batches[(turn - 1) % len(batches)])

        return next_step, _facts(model, batches)

    return build


def prepare_epoch(name: str, size_name: str, precision: str) -> Build:
    """Ours over a whole epoch a step, in batches of like length or in random ones; runs in its worker."""
    from bench import peers_seq2seq as peers
    from bench.peers import stepper
    from transformer_lib.data.batching import BucketedBatches

    make = peers.ours()

    def build() -> tuple[Callable[[], Any], Facts]:
        size = peers.Size(*SIZES[size_name])
        model, loss_of = make(size)
        step = stepper(model, loss_of, precision)
        sides = peers.lengths(size)
        budget = size.batch * sum(max(lengths) for lengths in zip(*sides[: size.batch], strict=True))
        if name == OURS:
            groups = list(BucketedBatches(sides, lambda rows: rows, token_budget=budget, seed=0, epochs=1))
        else:
            groups = list(peers.random_batches(sides, budget, seed=0))
        batches = [peers.batch_of(size, rows, sides) for rows in groups]

        def epoch() -> Any:
            return [step(batch) for batch in batches][-1]

        facts = _facts(model, batches)
        return epoch, facts | {"real_tokens": facts["real_tokens"] * len(batches), "batches": len(batches)}

    return build


def _facts(model: Any, batches: list[Any]) -> Facts:
    """Trained parameters, real tokens of a batch (their mean), and the share of real ones among all positions."""
    real = sum(int(batch.valid.sum()) + int((batch.labels >= 0).sum()) for batch in batches)
    positions = sum(batch.source.numel() + batch.target.numel() for batch in batches)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"parameters": trained, "real_tokens": real / len(batches), "real_share": real / positions}
