"""The commands for a reader's own data: what `check-data` prints, and what `train TASK --data` means."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

from transformer_lib.checks import require
from transformer_lib.cli.lines import complain, say, say_json

OWN = ("translation", "extraction", "answers", "text", "encoder")  # the tasks for which there is a recipe on own data
FURTHER = {"text": "further_text", "translation": "further_translation"}  # recipes of their own for --from
TUNES = ("full", "frozen", "lora")
SHOWN = 20  # faults that are listed, unless everything is to be JSON


class Own(NamedTuple):
    """The recipe for a task on own data, and its options."""

    recipe: Path
    settings: dict[str, str]


def own_settings(options: Namespace) -> Own | None:
    """What was typed after `train TASK`; None if it is a recipe that is to be run."""
    own = str(options.recipe) in OWN
    if not own:
        given = [
            name
            for name in ("data", "validation", "test", "out", "size", "vocab", "epochs", "base", "tune", "rank")
            if getattr(options, name)
        ]
        name = "from" if given[:1] == ["base"] else "".join(given[:1])
        require(not given, f"--{name}", f"must come after one of {', '.join(OWN)}", str(options.recipe))
        return None
    require(bool(options.data), "--data", "must name the files to train on", options.data)
    require(options.out is not None, "--out", "must name the folder for the model", options.out)
    require(not options.set, "--set", "must be left out: it is for recipes", options.set)
    require(options.folder is None, "--folder", "must be left out: --out names the folder", str(options.folder))
    files = {
        name: json.dumps([str(file.resolve()) for file in getattr(options, name)])
        for name in ("data", "validation", "test")
    }
    settings = files | {"skip_bad": "yes" if options.skip_bad else "no", "size": options.size}
    settings |= {name: str(getattr(options, name) or "") for name in ("vocab", "epochs")}
    settings |= _base(options)
    if str(options.recipe) == "translation":
        settings["lowercase"] = "yes" if options.lowercase else "no"
    else:
        require(not options.lowercase, "--lowercase", "must be left out: it is for translations", options.lowercase)
    recipe = FURTHER.get(str(options.recipe), str(options.recipe)) if options.base else str(options.recipe)
    return Own(Path(__file__).parents[1] / "tasks" / "own" / f"{recipe}.py", settings)


def _base(options: Namespace) -> dict[str, str]:
    """The model that training starts from, and what of it is trained."""
    if options.base is None:
        for name in ("tune", "rank"):
            value = getattr(options, name)
            require(value is None, f"--{name}", "must be given with --from, a model to go on from", value)
        return {}
    for name in ("size", "vocab"):
        value = getattr(options, name)
        require(not value, f"--{name}", "must be left out with --from: the model has its own", value)
    tune = options.tune or "full"
    lora = options.rank is None or tune == "lora"
    require(lora, "--rank", "must be given with --tune lora", options.rank)
    base = str(options.base.resolve()) if options.base.exists() else options.base.as_posix()
    return {"from": base, "tune": tune, "rank": str(options.rank or 8)}


def is_published(folder: Path) -> bool:
    """Whether a model's folder is in the form of Hugging Face's, as what goes on from one of theirs is."""
    return not (folder / "about.json").exists() and (folder / "config.json").exists()


def tell_limits(folder: Path) -> None:
    """Say on standard error what a saved model is for, if its makers left word of it."""
    from transformer_lib.tasks.saved import read_about

    if is_published(folder):
        return
    limits = read_about(folder)["evaluation"].get("limits")
    if isinstance(limits, str):
        complain(limits)


def check_data(options: Namespace) -> int:
    """Say what is in the files; 1 if lines cannot be used."""
    from transformer_lib.data.own import Survey, kind_of, read_own

    kind = options.kind or kind_of(options.files)
    surveys: dict[str, Survey] = {}
    for name, files in (("data", options.files), ("validation", options.validation), ("test", options.test)):
        if files:
            survey = surveys[name] = Survey()
            for found in read_own(files, kind):
                survey.add(found)
    reports = {name: survey.report() for name, survey in surveys.items()}
    shared = {name: len(surveys["data"].keys & survey.keys) for name, survey in surveys.items() if name != "data"}
    if options.json:
        say_json({"kind": kind, **reports, "shared_with_data": shared})
    else:
        for name, report in reports.items():
            say(f"{name}: {report['examples']} {kind}")
            say("\n".join(_lines(report)))
        for name, count in shared.items():
            say(f"{count} examples of {name} have a source, sentence or passage that stands in the data, too")
    return int(any(report["faults"] for report in reports.values()))


def score_lines(result: dict[str, Any]) -> list[str]:
    """What `evaluate --data` found, for people: each score with its interval, the errors by sort."""
    lines = [f"{result['task']}: {result['examples']} examples, {result['left_out']} left out"]
    for name, value in _numbers(result["scores"]):
        ends = result["intervals"].get(name.removesuffix(" f1").removeprefix("all "))
        lines.append(f"  {name}: {value:.4g}" + (f" (95 %: {ends[0]:.4g} to {ends[1]:.4g})" if ends else ""))
    lines += [f"  {name}: {signature}" for name, signature in result.get("signatures", {}).items()]
    lines += [f"  error, {name}: {count:g}" for name, count in _numbers(result["errors"])]
    return lines


def _numbers(value: Any, name: str = "") -> list[tuple[str, float]]:
    """Each number of nested objects, with the names that lead to it."""
    if not isinstance(value, dict):
        return [(name, float(value))]
    return [number for key, part in value.items() for number in _numbers(part, f"{name} {key}".strip())]


def _lines(report: dict[str, Any]) -> list[str]:
    lines = []
    for name, marks in report["lengths"].items():
        lines.append(f"  {name}: {', '.join(f'{mark} {value}' for mark, value in marks.items())}")
    for name, counts in report["counts"].items():
        lines.append(f"  {name}: {', '.join(f'{kind} {count}' for kind, count in counts.items())}")
    for odd in report["odd"]:
        where = f" ({'; '.join(odd['lines'])})" if odd["lines"] else ""
        lines.append(f"  odd, {odd['times']} times: {odd['what']}{where}")
    faults = report["faults"]
    lines += [f"  cannot be used: {fault['file']}, line {fault['line']}: {fault['why']}" for fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        lines.append(f"  and {len(faults) - SHOWN} more lines cannot be used")
    return lines
