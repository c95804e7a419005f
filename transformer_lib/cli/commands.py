"""What each command does: a function of the parsed options that prints its results and gives the exit code.

Everything that takes long to import is imported here when a command needs it.
"""

import json
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from itertools import groupby
from typing import TYPE_CHECKING

from transformer_lib.checks import require
from transformer_lib.cli.data import check_data as check_data
from transformer_lib.cli.data import is_published, model_folder, own_settings, score_lines, tell_limits
from transformer_lib.cli.lines import Line, Shown, complain, deliver, lines_of, read_input, read_lines, say, say_json
from transformer_lib.cli.talk import talk
from transformer_lib.device import check_device

if TYPE_CHECKING:
    import torch

    from transformer_lib.data.examples import Annotated
    from transformer_lib.tasks.language_model import Writer
    from transformer_lib.tasks.opus import OpusTranslator
    from transformer_lib.tasks.translation import Translator

LINES = 1024  # of a text that are translated or read together, before they are printed


def train(options: Namespace) -> int:
    """Train on own data or run a recipe; rank 0 prints what was measured."""
    from transformer_lib.runs.recipe import execute

    check_device(options.device)
    own = own_settings(options)
    with redirect_stdout(sys.stderr if options.json else sys.stdout):  # a recipe may print what it likes
        record = execute(
            own.recipe if own else options.recipe,
            seed=options.seed,
            device=options.device,
            folder=options.out if own else options.folder,
            record_file=options.out / "record.json" if own else None,
            resume=options.resume,
            options=own.settings if own else dict(options.set),
            parallel=options.parallel,
            change=options.change,
        )
    if record and options.json:
        say_json(record)
    elif record:
        say(json.dumps(record["results"], indent=1, ensure_ascii=False))
    return 0


def experiment(options: Namespace) -> int:
    """Make the runs that the records of experiments lack."""
    from transformer_lib.runs.experiment import execute

    with redirect_stdout(sys.stderr if options.json else sys.stdout):
        records = [str(execute(path, again=options.again)) for path in options.experiments]
    if options.json:
        say_json({"records": records})
    else:
        for record in records:
            say(record)
    return 0


def evaluate(options: Namespace) -> int:
    """Score a saved model on own data; or again, and then 1 if that is not what its record says."""
    from transformer_lib.tasks.evaluation import score_again

    if options.data:
        from transformer_lib.tasks.own.scoring import score_own

        folder = model_folder(options.checkpoint)
        own = score_own(folder, options.data, device=check_device(options.device), skip_bad=options.skip_bad)
        if options.json:
            say_json(own)
        else:
            say("\n".join(score_lines(own)))
        return 0
    rule = "must be given for a model in the form of Hugging Face's, which has no record to be compared with"
    require(not is_published(model_folder(options.checkpoint)), "--data", rule, None)
    result = score_again(model_folder(options.checkpoint), device=check_device(options.device))
    if options.json:
        say_json(result)
    else:
        for name, value in result["recorded"].items():
            say(f"{name}: recorded {value}, found {result['found'].get(name)}")
        say("exactly the record" if result["same"] else "NOT the record")
    return 0 if result["same"] else 1


def translate(options: Namespace) -> int:
    """Translate each line."""
    device = check_device(options.device)
    _choose_form(options)
    lines = read_lines(options.text, options.file)
    translator = _translator(options, device)
    return deliver(
        lines,
        as_json=options.json,
        at_once=LINES,
        unreadable=translator.unreadable,
        work=lambda texts: translator(texts, beams=options.beams, length_penalty=options.length_penalty),
        show=lambda text, found: Shown({"source": text, "target": found}, found),
    )


def extract(options: Namespace) -> int:
    """Print what is found in each line."""
    from transformer_lib.tasks.extraction import EntityRelationExtractor

    device = check_device(options.device)
    lines = read_lines(options.text, options.file)
    extractor = EntityRelationExtractor.load(model_folder(options.checkpoint), device=device)
    tell_limits(model_folder(options.checkpoint))
    return deliver(
        lines,
        as_json=options.json,
        at_once=LINES,
        unreadable=extractor.unreadable,
        work=extractor,
        show=lambda text, found: _show_extracted(found),
    )


def answer(options: Namespace) -> int:
    """Answer the question from the passages; 1 if it, or a line of them, could not be read."""
    from transformer_lib.tasks.question_answering import QuestionAnswerer

    device = check_device(options.device)
    passages, failed = _passages(lines_of(read_input(options.passages)))
    require(bool(passages), "passages", "must not be empty", passages)
    answerer = QuestionAnswerer.load(model_folder(options.checkpoint), device=device)
    tell_limits(model_folder(options.checkpoint))
    fault = answerer.unreadable([options.question]).get(0)
    if fault is None:
        found = answerer(options.question, passages)
        value, text = found._asdict() | {"abstained": found.abstained}, found.text or "(no answer)"
    else:
        complain(f"question {fault}")
        value, text = {"error": f"question {fault}"}, ""
    if options.json:
        say_json(value)
    else:
        say(text)
    return int(failed or fault is not None)


def generate(options: Namespace) -> int:
    """Continue each line; or answer each, in a chat."""
    from transformer_lib.tasks.language_model import Writer

    device = check_device(options.device)
    _choose_form(options)
    if options.chat or options.messages is not None:
        return talk(options)
    if options.system is not None:
        raise ValueError("--system must be given with --chat")
    lines = read_lines(options.text, options.file)
    writer = (
        Writer.load(model_folder(options.checkpoint), device=device)
        if options.checkpoint
        else _from_hf(options, device)
    )
    new = options.max_new_tokens
    return deliver(
        lines,
        as_json=options.json,
        at_once=1,
        unreadable=lambda texts: writer.unreadable(texts, max_new_tokens=new),
        work=lambda texts: [
            writer(text, max_new_tokens=new, temperature=options.temperature, seed=options.seed) for text in texts
        ],
        show=lambda text, found: Shown({"prompt": text, "text": found}, text + found),
    )


# Their parts ----------------------------------------------------------------------------------------------------------


def _choose_form(options: Namespace) -> None:
    """What was made of a published model is read as one; an own model needs nothing of what makes one of others fit."""
    if options.checkpoint and is_published(model_folder(options.checkpoint)):
        options.from_hf, options.checkpoint = str(model_folder(options.checkpoint)), None
    given = [name for name in ("dtype", "drop", "ignore") if getattr(options, name)]
    if options.checkpoint and given:
        raise ValueError(f"--{given[0]} must be given with --from-hf alone: it is for models of others")


def _translator(options: Namespace, device: "torch.device") -> "Translator | OpusTranslator":
    import torch

    from transformer_lib.interop.hub import find
    from transformer_lib.tasks.opus import OpusTranslator
    from transformer_lib.tasks.translation import Translator

    if options.checkpoint:
        return Translator.load(model_folder(options.checkpoint), device=device)
    dtype, folder = getattr(torch, options.dtype or "float32"), find(options.from_hf)
    return OpusTranslator.from_hf(folder, dtype=dtype, drop=options.drop, ignore=options.ignore, device=device)


def _from_hf(options: Namespace, device: "torch.device") -> "Writer":
    import torch

    from transformer_lib.interop.hub import find
    from transformer_lib.tasks.language_model import Writer

    dtype = getattr(torch, options.dtype or "float32")
    return Writer.from_hf(find(options.from_hf), dtype=dtype, drop=options.drop, ignore=options.ignore, device=device)


def _show_extracted(sentence: "Annotated") -> Shown:
    spans = [" ".join(sentence.words[entity.start : entity.end]) for entity in sentence.entities]
    lines = [" ".join(sentence.words)]
    lines += [f"  {entity.kind}: {span}" for entity, span in zip(sentence.entities, spans, strict=True)]
    lines += [f"  {r.kind}: {spans[r.head]} -> {spans[r.tail]}" for r in sentence.relations]
    entities = [entity._asdict() for entity in sentence.entities]
    relations = [relation._asdict() for relation in sentence.relations]
    return Shown({"words": sentence.words, "entities": entities, "relations": relations}, "\n".join(lines))


def _passages(lines: list[Line]) -> tuple[list[str], bool]:
    """The passages, which empty lines part, and whether lines that could not be read were left out of them."""
    bad = [(number, line.fault) for number, line in enumerate(lines, start=1) if line.fault is not None]
    for number, fault in bad:
        complain(f"line {number}: {fault}")
    texts = [line.text for line in lines if line.fault is None]
    groups = ["\n".join(group).strip() for empty, group in groupby(texts, key=lambda text: text == "") if not empty]
    return [group for group in groups if group], bool(bad)
