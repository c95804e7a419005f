"""What may be typed: the commands with their options, and which values an option can have.

Values are checked here, before a model is loaded: a number must be finite and one that can be meant.
"""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from transformer_lib.checks import shown
from transformer_lib.cli import commands
from transformer_lib.cli.data import OWN, TUNES
from transformer_lib.cli.engines import COMPUTE, ENGINES

Command = Callable[[argparse.Namespace], int]

KINDS = ("pairs", "columns", "offsets", "questions", "texts", "chats")
FORMATS = """Say what is in files of examples, and what is odd about it.

pairs      source TAB target; JSON lines with source and target, or with translation: {"en": ..., "de": ...};
           or two files (--as pairs) of which line i of the second translates line i of the first
columns    a word and its tag a line (tab or blanks), IO, IOB1, IOB2 or BILOU, an empty line after a sentence
offsets    JSON lines: {"text": ..., "entities": [{"start": 0, "end": 5, "label": "PER"}], "relations":
           [{"head": 0, "tail": 1, "type": "Work_For"}]}
questions  SQuAD 1.1 or 2.0; or JSON lines with context, question and answers: {"text": [...], "answer_start": [...]}
texts      files of plain text, or a folder of .txt
chats      JSON lines: {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
"""

DTYPES = ("float32", "bfloat16", "float16", "float64")
MOST_BEAMS = 100
MOST_BATCH = 4096
MOST_PENALTY = 5.0  # the fifth power of a million tokens still is a number that float32 holds
COLDEST, HOTTEST = 1e-4, 1e4  # beyond these, logits of float32 divided by the temperature may be infinite or all alike
MOST_SEED = 2**32 - 1


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are `ValueError`s: one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for whatever it cannot read."""
        raise ValueError(f"{message} ({self.prog} --help explains)")


def parser() -> Parser:
    """The parser; it sets `command` to the function that is to be called with the options."""
    top = Parser(prog="python -m transformer_lib", description="Train, score and use Transformers.")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, command: Command, text: str) -> Parser:
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
        sub.add_argument("--json", action="store_true", help="print one JSON value")
        sub.add_argument("--traceback", action="store_true", help="show where in the program an error arose")
        return sub

    def add_user(name: str, command: Command, text: str, head: str) -> Parser:
        sub = add(name, command, text)
        model = sub.add_mutually_exclusive_group(required=True)
        model.add_argument("--checkpoint", type=Path, help=f"the folder of a saved model, or of a {head}")
        model.add_argument(
            "--from-hf", metavar="MODEL", help=f"a folder of transformers' with a {head}, or OWNER/MODEL"
        )
        return sub

    _add_train(add("train", commands.train, "train on your own data, or run a recipe"))
    _add_check(add("check-data", commands.check_data, "say what is in files of examples, and what is odd about it"))
    experiment = add("experiment", commands.experiment, "compare under several seeds, as a file says; goes on if ended")
    experiment.add_argument("experiments", type=Path, nargs="+", help="Python files, as in recipes/experiments")
    experiment.add_argument("--again", action="store_true", help="make all runs anew, whatever was recorded")
    text = "write the weights of a checkpoint, which many processes may have saved in shards, as one file"
    one_file = add("consolidate", commands.consolidate, text)
    one_file.add_argument("checkpoint", type=Path, help="the folder of a checkpoint, such as step-00001000")
    one_file.add_argument("file", type=Path, help="the safetensors file to write; an older one is replaced")
    evaluate = add("evaluate", commands.evaluate, "score a saved model: again, or on your own data")
    evaluate.add_argument("checkpoint", type=Path, help="the folder of a saved model")
    text = "files to score it on; without them, what it was scored on, to be compared with its record"
    evaluate.add_argument("--data", type=Path, nargs="+", metavar="FILE", help=text)
    evaluate.add_argument("--skip-bad", action="store_true", help="go on without lines that cannot be used")
    _add_translate(add("translate", commands.translate, "translate sentences"))
    text = "find entities in sentences, and relations between them"
    extract = add_user("extract", commands.extract, text, "...ForTokenClassification")
    _add_texts(extract, "a sentence")
    _add_batch(extract)
    _add_lines(extract)
    text = "answer questions from passages, or abstain"
    _add_answer(add_user("answer", commands.answer, text, "...ForQuestionAnswering"))
    _add_generate(add("generate", commands.generate, "continue texts with a language model"))
    return top


def _add_train(train: Parser) -> None:
    text = f"{', '.join(OWN)}: on your own data; or a recipe, a Python file such as recipes/multi30k.py"
    train.add_argument("recipe", type=Path, metavar="TASK", help=text)
    own = train.add_argument_group("your own data (check-data --help lists the formats)")
    text = "examples to train on; without --validation and --test, a tenth is held out for each"
    own.add_argument("--data", type=Path, nargs="+", metavar="FILE", help=text)
    own.add_argument("--validation", type=Path, nargs="+", default=[], metavar="FILE", help="to choose the weights by")
    own.add_argument("--test", type=Path, nargs="+", default=[], metavar="FILE", help="to be scored on at the end")
    own.add_argument("--out", type=Path, metavar="FOLDER", help="for the model, its scores, checkpoints and log")
    own.add_argument("--skip-bad", action="store_true", help="go on without lines that cannot be used")
    own.add_argument("--size", default="", help="tiny, small, medium, ... (default: by the number of examples)")
    own.add_argument("--vocab", type=whole(1, 2**24), help="tokens of the vocabulary at most (default: by the size)")
    own.add_argument("--epochs", type=whole(1, 2**31), help="at most (default: by the size; it stops early)")
    own.add_argument("--lowercase", action="store_true", help="of a translation: read and write lower case")
    text = "go on from a model, ours or Hugging Face's, instead of from scratch"
    own.add_argument("--from", type=Path, dest="base", metavar="FOLDER", help=text)
    text = "with --from: all weights (full, default), only what is new (frozen), or small additions to them (lora)"
    own.add_argument("--tune", choices=TUNES, help=f"{text}; of a published model those are also saved for peft")
    own.add_argument("--rank", type=whole(1, 2**16), help="with --tune lora: of the additions (default: 8)")
    train.add_argument("--seed", type=whole(0, MOST_SEED), default=0)
    train.add_argument("--folder", type=Path, help="of a recipe: for checkpoints and log (default: runs/NAME-seedK)")
    train.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the folder")
    text = "with --resume: what may be otherwise than the run had it (may be given several times)"
    train.add_argument("--change", action="append", default=[], metavar="NAME", help=text)
    train.add_argument("--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    text = "under torchrun: ddp (default), or fsdp2 for a sharded model, with fields such as fsdp2:replicas=2,tensor=2"
    train.add_argument("--parallel", metavar="HOW", help=text)


def _add_check(check: Parser) -> None:
    check.formatter_class = argparse.RawDescriptionHelpFormatter
    check.description = FORMATS
    check.add_argument("files", type=Path, nargs="+", metavar="FILE", help="files of one kind, or a folder of .txt")
    check.add_argument("--as", dest="kind", choices=KINDS, help="the kind, where it is told wrongly")
    for name in ("validation", "test"):
        text = f"files for {name}: what stands there and in the first is named"
        check.add_argument(f"--{name}", type=Path, nargs="+", default=[], metavar="FILE", help=text)


def _add_translate(translate: Parser) -> None:
    _add_model(translate)
    _add_texts(translate, "a sentence")
    _add_batch(translate)
    _add_lines(translate)
    text = "translate each sentence of a line by itself; the code of the language, such as en, says how sentences end"
    translate.add_argument("--split", type=language, metavar="LANGUAGE", help=text)
    text = "of Chinese: one script, whichever the model writes (default: as it writes)"
    translate.add_argument("--script", choices=("simplified", "traditional"), help=text)
    text = "so many translations of each sentence, at most --beams, each behind its log-probability per token"
    translate.add_argument("--n-best", type=whole(1, MOST_BEAMS), default=1, metavar="N", help=text)
    translate.add_argument("--beams", type=whole(1, MOST_BEAMS), default=5, help="1 is greedy (default: 5)")
    translate.add_argument(
        "--length-penalty",
        type=number(-MOST_PENALTY, MOST_PENALTY),
        default=1.0,
        help="0 prefers short ones (default: 1)",
    )


def _add_answer(answer: Parser) -> None:
    text = "the question; with --jsonl or --questions none: each line brings its own"
    answer.add_argument("question", nargs="?", help=text)
    text = "a text file in which an empty line parts two passages (default: standard input)"
    answer.add_argument("--passages", type=Path, metavar="FILE", help=text)
    text = 'a file of JSON lines {"question": ..., "context": ...} (with --jsonl default: standard input)'
    answer.add_argument("--questions", type=Path, metavar="FILE", help=text)
    _add_batch(answer)
    _add_lines(answer)


def _add_generate(generate: Parser) -> None:
    _add_model(generate)
    _add_texts(generate, "the beginning of a text")
    _add_lines(generate)
    chat = "with --from-hf: each line is what the user says next, and the reply is printed"
    generate.add_argument("--chat", action="store_true", help=chat)
    generate.add_argument("--system", metavar="TEXT", help="with --chat: what the model is told before the first turn")
    messages = "with --from-hf: a file of JSON lines, each a list of messages to reply to"
    generate.add_argument("--messages", type=Path, metavar="FILE", help=messages)
    generate.add_argument("--max-new-tokens", type=whole(1, 2**63 - 1), help="(default: as many as fit, at most 200)")
    generate.add_argument("--temperature", type=temperature, default=0.8, help="0 is greedy (default: 0.8)")
    generate.add_argument("--seed", type=whole(0, MOST_SEED), default=0)


def _add_model(sub: Parser) -> None:
    model = sub.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, help="the folder of a saved model")
    model.add_argument("--from-hf", metavar="MODEL", help="a folder of transformers', or OWNER/MODEL of the Hub")
    sub.add_argument("--dtype", choices=DTYPES, help="of the weights, with --from-hf (default: float32)")
    for name, metavar, what in (
        ("--drop", "PATTERN", "weights that are not read, such as *.inv_freq"),
        ("--ignore", "FIELD", "a field of generation_config.json that is set aside"),
    ):
        text = f"with --from-hf: {what} (may be given several times)"
        sub.add_argument(name, action="append", default=[], metavar=metavar, help=text)
    text = "write with another program, to which the model is converted the first time (default: PyTorch)"
    sub.add_argument("--engine", choices=ENGINES, help=text)
    sub.add_argument("--compute", choices=COMPUTE, help="with --engine: the type of the weights (default: float32)")


def _add_batch(sub: Parser) -> None:
    text = "so many are read together; with --jsonl at most so many wait for one another (default: 64)"
    sub.add_argument("--batch", type=whole(1, MOST_BATCH), default=64, metavar="N", help=text)


def _add_lines(sub: Parser) -> None:
    text = "print a JSON object for each line as soon as it is done; memory does not grow with the input"
    sub.add_argument("--jsonl", action="store_true", help=text)


def _add_texts(sub: Parser, what: str) -> None:
    sub.add_argument("text", nargs="*", help=f"{what}; without any: --file, or else standard input")
    sub.add_argument("--file", type=Path, help=f"a text file in UTF-8, {what} a line")


# Values ---------------------------------------------------------------------------------------------------------------


def whole(least: int, most: int) -> Callable[[str], int]:
    """The reader of a whole number from `least` to `most`."""

    def read(text: str) -> int:
        value = _int(text)
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {shown(text)}")
        return value

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """The reader of a number from `least` to `most`."""

    def read(text: str) -> float:
        value = _float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:g}, got {shown(text)}")
        return value

    return read


def temperature(text: str) -> float:
    """Read a temperature."""
    value = _float(text)
    if value != 0 and not COLDEST <= value <= HOTTEST:
        rule = f"must be 0 or a number from {COLDEST:g} to {HOTTEST:g}"
        raise argparse.ArgumentTypeError(f"{rule}, got {shown(text)}")
    return value


def language(text: str) -> str:
    """Read the code of a language."""
    if not re.fullmatch("[a-z]{2,3}", text):
        rule = "must be the code of a language, two or three small letters, such as en"
        raise argparse.ArgumentTypeError(f"{rule}, got {shown(text)}")
    return text


def setting(text: str) -> tuple[str, str]:
    """Read an option of a recipe."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, got {shown(text)}")
    return key, value


def _int(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
