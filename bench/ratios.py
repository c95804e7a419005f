"""What the measured turns say: everybody's ratios to ours within a round, targets, and the lines that are printed.

A ratio is theirs over ours: above 1, ours took less. Like is compared with like where a subject says who does the same
work. Only the standard library is imported here, as in `harness.py`.
"""

import statistics
from collections.abc import Mapping, Sequence

from bench.harness import OURS, Facts, Failed


def clock_of(threads: int, device: str) -> str:
    """Processor time says most with one thread; with more, or where a GPU does the work, the wall clock does."""
    return "cpu_time" if threads == 1 and device == "cpu" else "wall_time"


def compare(
    record: Mapping[str, Facts],
    *,
    threads: int,
    device: str = "cpu",
    ours: str = OURS,
    like: Mapping[str, str | None] | None = None,
) -> Facts:
    """The record of one row: raw candidates, everybody's ratios to `ours`, the fastest and the leanest peer.

    `like` names for each peer the one of ours that does the same work, or None where none does; without it that is
    `ours`. The fastest and the leanest are found among ratios of like to like, which are recorded beside the others.
    Who is fastest is read off the clock that `clock_of` names. Candidates whose names begin with `OURS` are not peers.
    `Failed` if ours failed: then there is nothing to compare with.
    """
    our = record[ours]
    if "failed" in our:
        raise Failed(f"{ours}: {our['failed']}")
    done = {name: facts for name, facts in record.items() if "failed" not in facts}
    ratios = {name: _over(done[name], our) for name in done if name != ours}
    row: Facts = {"candidates": dict(record), "theirs_over_ours": ratios}
    clock = clock_of(threads, device)
    if device != "cpu":
        row["device"] = device
    partner = {name: ours if like is None else like.get(name) for name in ratios if not name.startswith(OURS)}
    peers = {name: _over(done[name], done[own]) for name, own in partner.items() if own in done}
    if like is not None:
        row["like_for_like"] = {name: {"ours": partner[name]} | over for name, over in peers.items()}
    if peers:
        fastest = min(peers, key=lambda name: peers[name][clock]["median"])
        row["best_peer"] = {"name": fastest, clock: peers[fastest][clock]["median"]}
        if our["memory"]:
            leanest = min(peers, key=lambda name: peers[name]["memory"])
            row["leanest_peer"] = {"name": leanest, "memory": peers[leanest]["memory"]}
    return row


def _over(theirs: Facts, ours: Facts) -> Facts:
    """Their time and memory over those of ours."""
    clocks = {f"{clock}_time": ratio(ours[f"{clock}_seconds"], theirs[f"{clock}_seconds"]) for clock in ("cpu", "wall")}
    return clocks | {"memory": theirs["memory"]["added_mib"] / ours["memory"]["added_mib"] if ours["memory"] else None}


def best_of_its_family(row: Facts, threads: int, device: str = "cpu") -> list[Facts]:
    """What a row wants: the speed of the fastest peer that does the same work, and 0.9 x the memory of the leanest."""
    found = []
    if fastest := row.get("best_peer"):
        reached = fastest[clock_of(threads, device)]
        found.append(
            {"target": ">= 1.0 x the speed of the fastest peer that does the same work", "over": fastest["name"]}
        )
        found[-1] |= {"at_least": 1.0, "is": reached}
    if leanest := row.get("leanest_peer"):
        found.append(
            {"target": "<= 0.9 x the memory of the leanest peer that does the same work", "over": leanest["name"]}
        )
        found[-1] |= {"at_least": round(1 / 0.9, 3), "is": leanest["memory"]}
    return found


def target_lines(found: Sequence[Facts]) -> list[str]:
    """One line for each target: what is wanted, of whom, and what was reached."""
    asked = [aim.get("target", f"{aim['at_least']} x {aim['over']}") for aim in found]
    return [f"  target: {text} ({aim['over']}): {aim['is']:.3f}" for text, aim in zip(asked, found, strict=True)]


def lines_of(record: Facts, units: float, unit: str = "tokens/s") -> str:
    """One line per candidate: `units` of work per second, memory, and the ratios to ours.

    Seconds are of processor time, on a GPU of the wall clock.
    """
    clock = "wall" if "device" in record else "cpu"
    lines = [f"  {'candidate':28} {unit:>10} {'MiB':>6}   their time / ours (quartiles), their memory / ours"]
    for name, facts in record["candidates"].items():
        if "failed" in facts:
            lines.append(f"  {name:28} failed: {facts['failed']}")
            continue
        memory = f"{facts['memory']['added_mib']:.0f}" if facts["memory"] else "-"
        line = f"  {name:28} {units / statistics.median(facts[f'{clock}_seconds']):10,.0f} {memory:>6}"
        if over := record["theirs_over_ours"].get(name):
            alike = record.get("like_for_like", {}).get(name)
            time = over[f"{clock}_time"]
            line += f"   {time['median']:.3f} ({time['lower_quartile']:.3f}-{time['upper_quartile']:.3f})"
            line += f"  {over['memory']:.3f}" if over["memory"] else ""
            if alike and alike["ours"] != OURS:
                line += f"   {alike['cpu_time']['median']:.3f} of {alike['ours']}"
        lines.append(line)
    if record.get("left_out"):
        lines.append(f"  not installed: {', '.join(record['left_out'])}")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Their time over ours, round by round, and the spread of that: above 1, ours is the faster."""
    return spread([their / our for our, their in zip(ours, theirs, strict=True)])
