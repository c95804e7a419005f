"""What each command does: a function of the parsed options that prints its results and gives the exit code.

Everything that takes long to import is imported here when a command needs it.
"""

import json
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from transformer_lib.checks import require
from transformer_lib.cli.asked import answers_to, faults_of, show_answered
from transformer_lib.cli.data import check_data as check_data
from transformer_lib.cli.data import is_published, own_settings, score_lines, tell_limits
from transformer_lib.cli.engines import check_engine, with_engine
from transformer_lib.cli.lines import (
    Line,
    Shown,
    as_line,
    complain,
    deliver,
    form_of,
    lines_of,
    read_input,
    say,
    say_json,
)
from transformer_lib.cli.results import show_answer, show_extracted, show_translation
from transformer_lib.cli.streams import groups_of
from transformer_lib.cli.talk import talk
from transformer_lib.cli.weights import consolidate as consolidate
from transformer_lib.device import check_device
from transformer_lib.folders import model_folder

if TYPE_CHECKING:
    import torch

    from transformer_lib.tasks.entity_tagger import EntityTagger
    from transformer_lib.tasks.extraction import EntityRelationExtractor
    from transformer_lib.tasks.language_model import Writer
    from transformer_lib.tasks.opus import OpusTranslator
    from transformer_lib.tasks.question_answering import QuestionAnswerer
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
    require(options.n_best <= options.beams, "--n-best", f"must be at most --beams={options.beams}", options.n_best)
    rule = "must be 1 with --split: the sentences of a line have no common ranks"
    require(options.n_best == 1 or options.split is None, "--n-best", rule, options.n_best)
    groups = groups_of(options.text, options.file, at_once=_at_once(options))
    from transformer_lib.tasks.paragraphs import ParagraphTranslator

    translator = ParagraphTranslator(with_engine(_translator(options, device), options), options.split, options.script)
    search = {name: getattr(options, name) for name in ("beams", "length_penalty", "n_best", "batch")}
    return deliver(
        groups,
        form=form_of(options),
        unreadable=translator.unreadable,
        work=lambda texts: translator(texts, **search),
        show=lambda text, found: show_translation(text, found, translator, options.n_best),
    )


def extract(options: Namespace) -> int:
    """Print what is found in each line."""
    device = check_device(options.device)
    groups = groups_of(options.text, options.file, at_once=_at_once(options))
    extractor = _extractor(_task_folder(options), device)
    return deliver(
        groups,
        form=form_of(options),
        unreadable=extractor.unreadable,
        work=lambda texts: extractor.find(texts, rows=options.batch),
        show=lambda _, found: show_extracted(found),
    )


def answer(options: Namespace) -> int:
    """Answer the question from the passages, or each of many; 1 if one, or a line, could not be read."""
    device = check_device(options.device)
    many = options.question is None
    if many:
        require(options.jsonl or options.questions is not None, "question", "must be given, or --questions", None)
        require(options.passages is None, "--passages", "must come with a question: lines bring their own", None)
        groups = groups_of((), options.questions, at_once=_at_once(options))
    else:
        require(options.questions is None, "--questions", "must be given without a question", options.question)
        passages, failed = _passages(lines_of(read_input(options.passages)))
        require(bool(passages), "passages", "must not be empty", passages)
    answerer = _answerer(options, device)
    if many:
        return deliver(
            groups,
            form=form_of(options),
            unreadable=lambda lines: faults_of(lines, answerer),
            work=lambda lines: answers_to(lines, answerer),
            show=show_answered,
        )
    fault = answerer.unreadable([options.question]).get(0)
    if fault is not None:
        complain(f"question {fault}")
        found = Shown({"error": f"question {fault}"}, "")
    else:
        found = show_answer(answerer(options.question, passages))
    match form_of(options):
        case "json":
            say_json(found.value)
        case "json lines":
            say(as_line(found.value))
        case "text":
            say(found.text)
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
    groups = groups_of(options.text, options.file, at_once=1)
    writer = (
        Writer.load(model_folder(options.checkpoint), device=device)
        if options.checkpoint
        else _from_hf(options, device)
    )
    writer = with_engine(writer, options)
    new = options.max_new_tokens
    return deliver(
        groups,
        form=form_of(options),
        unreadable=lambda texts: writer.unreadable(texts, max_new_tokens=new),
        work=lambda texts: [
            writer(text, max_new_tokens=new, temperature=options.temperature, seed=options.seed) for text in texts
        ],
        show=lambda text, found: Shown({"prompt": text, "text": found}, text + found),
    )


# Their parts ----------------------------------------------------------------------------------------------------------


def _choose_form(options: Namespace) -> None:
    """What was made of a published model is read as one; an own model needs nothing of what makes one of others fit."""
    check_engine(options)
    if options.checkpoint and is_published(model_folder(options.checkpoint)):
        options.from_hf, options.checkpoint = str(model_folder(options.checkpoint)), None
    given = [name for name in ("dtype", "drop", "ignore") if getattr(options, name)]
    if options.checkpoint and given:
        raise ValueError(f"--{given[0]} must be given with --from-hf alone: it is for models of others")


def _at_once(options: Namespace) -> int:
    """How many lines are worked on before they are printed: few of those that are wanted as soon as they are done."""
    return int(options.batch) if options.jsonl else LINES


def _task_folder(options: Namespace) -> Path:
    """The folder of the model that is named, which may lie on the Hub."""
    from transformer_lib.interop.hub import find

    return model_folder(options.checkpoint) if options.checkpoint else find(options.from_hf)


def _extractor(folder: Path, device: "torch.device") -> "EntityRelationExtractor | EntityTagger":
    if is_published(folder):
        from transformer_lib.tasks.entity_tagger import EntityTagger

        return EntityTagger.from_hf(folder, device=device)
    from transformer_lib.tasks.extraction import EntityRelationExtractor

    extractor = EntityRelationExtractor.load(folder, device=device)
    tell_limits(folder)
    return extractor


def _answerer(options: Namespace, device: "torch.device") -> "QuestionAnswerer":
    from transformer_lib.tasks.question_answering import QuestionAnswerer

    folder = _task_folder(options)
    published = is_published(folder)
    answerer = (QuestionAnswerer.from_hf if published else QuestionAnswerer.load)(folder, device=device)
    tell_limits(folder)
    if published:
        complain("this model always answers, with scores and no probabilities: its folder does not say when to abstain")
    elif answerer.calibration is None:
        complain("this model is not calibrated: it has scores, and no probabilities")
    return answerer


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


def _passages(lines: list[Line]) -> tuple[list[str], bool]:
    """The passages, which empty lines part, and whether lines that could not be read were left out of them."""
    bad = [(number, line.fault) for number, line in enumerate(lines, start=1) if line.fault is not None]
    for number, fault in bad:
        complain(f"line {number}: {fault}")
    texts = [line.text for line in lines if line.fault is None]
    groups = ["\n".join(group).strip() for empty, group in groupby(texts, key=lambda text: text == "") if not empty]
    return [group for group in groups if group], bool(bad)
