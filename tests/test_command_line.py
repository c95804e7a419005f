"""What can be typed: every command line ends with an exit code and one line that says why, and none in a traceback."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformer_lib.__main__ import main
from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig, Rope
from transformer_lib.interop.huggingface import to_hf
from transformer_lib.models import DecoderLM
from transformer_lib.tasks.calibration import Platt
from transformer_lib.tasks.extraction import EntityRelationExtractor
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.question_answering import QuestionAnswerer, Reader
from transformer_lib.tasks.reading import SPECIAL_TOKENS
from transformer_lib.tasks.translation import Translator
from transformer_lib.text.tokenizer import Tokenizer

TATOEBA = str(Path(__file__).parents[1] / "recipes" / "models" / "tatoeba-en-zh")
SIDE = ModelConfig(
    vocab_size=262,
    d_model=8,
    num_layers=1,
    max_length=64,
    attention=AttentionConfig(num_heads=2, bias=True),
    feedforward=Mlp(d_ff=16),
    positions=Rope(),
)
RECIPE = "NAME = 'toy'\nOPTIONS = {'x': '1'}\ndef run(run):\n    "


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind, and recipes that end in every way."""
    folder = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a bab ab aba"], 259, ["<|end|>"])
    for name, positions in (("writer", Rope()), ("learned", Learned())):
        model = DecoderLM(replace(SIDE, vocab_size=259, positions=positions)).eval()
        Writer(model, tokenizer).save(folder / name)
    to_hf(model, folder / "hf", tokenizer=tokenizer)
    config = ExtractionConfig(
        encoder=replace(SIDE, vocab_size=256), kinds=("Place",), relations=("Lives_In",), pair_width=8
    )
    EntityRelationExtractor(ExtractionModel(config), Tokenizer.train(["a a"], 256)).save(folder / "extractor")
    reader = Reader(replace(SIDE, vocab_size=258, segments=2)).eval()
    tokenizer = Tokenizer.train(["a a"], 258, SPECIAL_TOKENS)
    QuestionAnswerer(reader, tokenizer, threshold=-1e9, calibration=Platt(1.0, 0.0)).save(folder / "answerer")
    endings = {
        "good": "return {'x': run.options['x']}",
        "prints": "print('hello'); return {'x': 1}",
        "nan": "return {'x': float('nan')}",
        "divides": "return {'x': 1 / 0}",
        "types": "return {'x': 1 + 'a'}",
        "exits": "import sys; sys.exit('enough')",
        "diverges": "import torch; from transformer_lib.checks import require; require(False, 'x', 'must be y', 1)",
    }
    for name, ending in endings.items():
        (folder / f"{name}.py").write_text(RECIPE + ending + "\n")
    (folder / "none.py").write_text("this is no Python\n")
    (folder / "empty.py").write_text("")
    (folder / "bytes.py").write_bytes(b"\xff\x00")
    (folder / "lines").write_bytes(b"\xef\xbb\xbfI am here.\r\nbad \xff\nYou \xe2\x80\xa8 are\rhere.\n\n")
    (folder / "passages").write_bytes(b"\xef\xbb\xbfIt is Ada.\n\nbad \xff\n\nBob\n")
    os.mkfifo(folder / "pipe")
    return folder


def filled(place: Path, text: str) -> list[str]:
    """The arguments of a line of the table, where `@name` stands for something in the place."""
    return [
        TATOEBA if word == "@tatoeba" else str(place / word[1:]) if word.startswith("@") else word
        for word in text.replace("\n", " ").split()
    ]


def give(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


TRANSLATE, GENERATE = "translate --checkpoint @tatoeba", "generate --checkpoint @writer"
LEARNED, HF = "generate --checkpoint @learned", "generate --from-hf @hf"
EXTRACT, ANSWER = "extract --checkpoint @extractor", "answer --checkpoint @answerer who?"
BEAMS, NEW = (
    "argument --beams: must be a whole number from 1 to 100, got ",
    "argument --max-new-tokens: must be a whole ",
)
PENALTY = "argument --length-penalty: must be a number from -5 to 5, got "
TEMPERATURE, SEED = (
    "argument --temperature: must be 0 or a number from ",
    "argument --seed: must be a whole number from 0 ",
)
DEVICE = r"device must be one of \['cpu'.*\] on this machine, got "

TABLE = [
    ("", 2, "required: COMMAND"),
    ("fly", 2, "invalid choice: 'fly'"),
    ("--help", 0, ""),
    ("generate --help", 0, ""),
    ("translate a", 2, "one of the arguments --checkpoint --from-hf is required"),
    ("evaluate", 2, "required: checkpoint"),
    ("evaluate @nowhere", 2, "path must be a folder"),
    ("evaluate @writer", 2, "evaluation must name data and split"),
    ("evaluate @writer --device tpu", 2, DEVICE + "'tpu'"),
    ("answer --checkpoint @answerer", 2, "question must be given, or --questions"),
    ("generate a", 2, "one of the arguments --checkpoint --from-hf is required"),
    ("generate --checkpoint @writer --from-hf @hf a", 2, "not allowed with"),
    (f"{TRANSLATE} --wings a", 2, "unrecognized arguments: --wings"),
    # Devices.
    *((f"{TRANSLATE} --device {name} a", 2, DEVICE + f"'{name}'") for name in ("foo", "tpu", "meta", "cuda:99", "-1")),
    *((f"{GENERATE} --device {name} a", 2, DEVICE) for name in ("cpu:x", "hip", "CPU", "cuda:-1")),
    (f"{TRANSLATE} --device= a", 2, DEVICE + "''"),
    (f"{EXTRACT} --device meta a", 2, DEVICE),
    (f"{ANSWER} --device meta --passages @passages", 2, DEVICE),
    (f"{HF} --device meta a", 2, DEVICE),
    ("train @good.py --device meta", 2, DEVICE),
    ("train @good.py --device", 2, "expected one argument"),
    # Numbers.
    *((f"{TRANSLATE} --beams {n} a", 2, BEAMS + f"'{n}'") for n in ("0", "-1", "101", "1.5", "x", "nan", "1e3")),
    *((f"{TRANSLATE} --beams {n} a", 2, BEAMS) for n in (99999999999, 2**63, 10**30)),
    (f"{TRANSLATE} --beams {'9' * 5000} a", 2, BEAMS + r"'9+\.\.\. \(5002 characters\)"),
    *((f"{TRANSLATE} --length-penalty={n} a", 2, PENALTY) for n in ("nan", "inf", "-inf", "1000", "1e308", "-11", "x")),
    *((f"{GENERATE} --temperature={n} a", 2, TEMPERATURE) for n in ("nan", "inf", "-1", "1e-40", "1e308", "-inf", "x")),
    *((f"{GENERATE} --max-new-tokens={n} a", 2, NEW) for n in (0, -1, 2**63, 10**30, "1.5", "")),
    (f"{GENERATE} --max-new-tokens 99999999999 a", 1, "line 1: must leave room for 99999999999 new tokens: it has 1"),
    (f"{GENERATE} --max-new-tokens {2**63 - 1} a", 1, "line 1: must leave room for"),
    *((f"{GENERATE} --seed={n} a", 2, SEED) for n in (-1, 2**32, 10**30, "x", "nan")),
    *((f"train @good.py --seed={n}", 2, SEED) for n in (-1, 2**32, 10**30)),
    # Lengths: a table of 64 positions.
    (f"{LEARNED} a", 0, ""),
    (f"{HF} a", 0, ""),
    (f"{LEARNED} --max-new-tokens 64 a", 0, ""),
    (
        f"{LEARNED} --max-new-tokens 65 a",
        1,
        "line 1: must leave room for 65 new tokens: it has 1, after which .* 64 fit",
    ),
    (f"{LEARNED} {'x' * 64}", 0, ""),
    (f"{LEARNED} {'x' * 65}", 1, "line 1: must have at most 64 tokens, got 65"),
    (f"{GENERATE} {'x' * 65}", 1, "line 1: must have at most 64 tokens, got 65"),
    (f"{LEARNED} --max-new-tokens 9 {'x' * 60}", 1, "it has 60, after which at most 5 fit"),
    (f"{GENERATE} {'x' * 9999}", 1, "must have at most 4096 characters for a model that reads 64 tokens, got 9999"),
    (f"{TRANSLATE} {'x' * 999}", 1, r"line 1: must have at most 128 tokens with its end, got \d+"),
    # Types.
    (f"{HF} --dtype bfloat16 a", 0, ""),
    (f"{HF} --dtype float64 a", 0, ""),
    (f"{HF} --dtype int8 a", 2, "invalid choice: 'int8'"),
    (f"{GENERATE} --dtype float16 a", 2, "--dtype must be given with --from-hf"),
    # Files.
    (f"{TRANSLATE} --file @nowhere", 2, "No such file"),
    (f"{TRANSLATE} --file @writer", 2, "directory|regular file"),
    (f"{TRANSLATE} --file @pipe", 2, "path must be a regular file"),
    (f"{TRANSLATE} --file @lines a", 2, "arguments or as --file, got both"),
    (f"{TRANSLATE} --beams 1 --file @lines", 1, "line 2: must be UTF-8, got the byte 0xff after 4 characters"),
    (f"{GENERATE} --file @lines --max-new-tokens 2", 1, "line 2: must be UTF-8.*\nline 4: must not be empty, got ''"),
    (f"{EXTRACT} --file @lines", 1, "line 2: must be UTF-8"),
    (f"{ANSWER} --passages @passages", 1, "line 3: must be UTF-8"),
    (f"{ANSWER} --passages @pipe", 2, "path must be a regular file"),
    (f"{ANSWER} --passages @nowhere", 2, "No such file"),
    # Folders.
    ("translate --checkpoint @nowhere a", 2, "path must be a folder"),
    ("translate --checkpoint @writer a", 2, "task must be 'translation', got 'language model'"),
    ("generate --from-hf @writer a", 2, "must hold config.json"),
    ("generate --from-hf /x/y/z a", 2, "must be a folder, or OWNER/MODEL of the Hub"),
    ("generate --from-hf= a", 2, "must hold config.json"),
    # Recipes.
    ("train", 2, "required: TASK"),
    ("train @nowhere.py", 2, "no recipe"),
    ("train @writer", 2, "no recipe"),
    ("train @lines", 2, "must be a Python file"),
    ("train @none.py", 2, "invalid syntax"),
    ("train @bytes.py", 2, "null bytes|UTF-8|encod"),
    ("train @empty.py", 2, "must define NAME and run"),
    ("train @good.py --set x", 2, "argument --set: must be KEY=VALUE, got 'x'"),
    ("train @good.py --set y=1", 2, r"options must be among \['x'\] for toy, got 'y'"),
    ("train @good.py --parallel ddp", 2, "torchrun"),
    ("train @good.py --folder @runs --set x=2", 0, ""),
    ("train @nan.py --folder @runs", 2, "not JSON compliant"),
    ("train @exits.py --folder @runs", 2, "^enough$"),
    ("train @diverges.py --folder @runs", 2, "x must be y, got 1"),
]


@pytest.mark.parametrize(("line", "code", "words"), TABLE)
def test_a_command_line_has_an_end(
    line: str,
    code: int,
    words: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give(monkeypatch, b"")
    assert main(filled(place, line)) == code
    printed = capsys.readouterr()
    assert re.search(words, printed.err) and "Traceback" not in printed.err and "fault of" not in printed.err
    assert printed.err.count("\n") == (0 if code == 0 else words.count("\n") + 1), printed.err
    assert bool(printed.out) == (code < 2)


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 80


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.load(TATOEBA)


def test_one_line_costs_its_own_place(
    translator: Translator, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ["I am here.", "A\rB \u2028 C\0", "", "Where do you live?"]
    wanted = translator(good, beams=2)
    data = b"\xef\xbb\xbf" + good[0].encode() + b"\r\n\xff\xfe\n" + good[1].encode() + b"\n\n" + b"x" * 10**7
    data += b"\n" + good[3].encode() + b" \xc3\n" + good[3].encode()
    file = tmp_path / "texts"
    file.write_bytes(data)
    command = ["translate", "--checkpoint", TATOEBA, "--beams", "2"]
    assert main([*command, "--file", str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.out == "\n".join([wanted[0], "", wanted[1], wanted[2], "", "", wanted[3]]) + "\n"
    faults = [line.partition(":")[0] for line in printed.err.splitlines() if "unsure" not in line]
    assert faults == ["line 2", "line 5", "line 6"]
    assert "line 5: must have at most 8192 characters" in printed.err

    give(monkeypatch, data)
    assert main([*command, "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row.get("target") for row in rows] == [wanted[0], None, wanted[1], wanted[2], None, None, wanted[3]]
    assert rows[1] == {"error": "must be UTF-8, got the byte 0xff after 0 characters"}
    assert rows[2]["source"] == good[1] and rows[0]["source"] == good[0]


def test_other_commands_keep_the_place_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (EXTRACT, GENERATE + " --max-new-tokens 1"):
        assert main([*filled(place, command), "--json", "ab", "b\udcff", "ab"]) == 1
        printed = capsys.readouterr()
        first, error, last = json.loads(printed.out)
        assert first == last and error == {"error": "must be UTF-8, got the byte 0xff after 1 characters"}
        assert printed.err == f"line 2: {error['error']}\n"
    assert main([*filled(place, EXTRACT), "a b", "b\ud800", "a"]) == 1
    assert re.match(r"a b\n(  .*\n)*\na\n", capsys.readouterr().out)


def test_a_question_that_cannot_be_read(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = filled(place, "answer --checkpoint @answerer --json --passages @passages")
    for question, words in (
        ("", "must not be empty"),
        ("x" * 60, "leave half"),
        ("x" * 9999, "at most 4096 characters"),
    ):
        assert main([*command, question]) == 1
        printed = capsys.readouterr()
        error = json.loads(printed.out)["error"]
        assert words in error and error in printed.err and printed.err.count("\n") == 2  # and a line of the passages


def test_lines_are_printed_while_others_wait(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    write = Writer.__call__
    monkeypatch.setattr(
        Writer, "__call__", lambda self, text, **rest: fail() if text == "b" else write(self, text, **rest)
    )
    assert main(filled(place, f"{GENERATE} --max-new-tokens 1 a b a")) == 130
    printed = capsys.readouterr()
    assert printed.out.startswith("a") and printed.err == "interrupted\n"


# Ends -----------------------------------------------------------------------------------------------------------------


class PanicException(BaseException):
    """As that of pyo3, which cannot be imported."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 2, "error: not enough memory: MemoryError"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), 2, "error: not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), 2, "error: not enough memory"),
        (FloatingPointError("the loss of step 3 is nan"), 2, "error: the loss of step 3 is nan"),
        (PanicException("called `Option::unwrap()`\non a `None`"), 2, "error: a library gave up: .*unwrap.* on a"),
        (OSError(28, "No space left on device"), 2, r"error: \[Errno 28\] No space left on device"),
        (KeyError("x"), 2, "error: KeyError: 'x'; that is a fault of transformer_lib"),
        (ValueError("a\n\nb\u2028c"), 2, "error: a b c"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_is_one_line(
    error: BaseException,
    code: int,
    words: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(Writer, "__call__", fail)
    assert main(filled(place, f"{GENERATE} a")) == code
    printed = capsys.readouterr()
    assert re.match(words, printed.err) and printed.err.count("\n") == 1
    assert main(filled(place, f"{GENERATE} --traceback a")) == code
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "error"), [("divides", "ZeroDivisionError"), ("types", "TypeError")])
def test_what_a_recipe_raises_is_shown_as_its_own(
    name: str, error: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(filled(place, f"train @{name}.py --folder @runs --json")) == 2
    printed = capsys.readouterr()
    assert "Traceback" in printed.err and printed.out == ""
    assert re.match(rf"error: the recipe .*{name}.py raised {error}: ", printed.err.splitlines()[-1])


def test_json_is_all_that_is_printed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(filled(place, "train @prints.py --folder @runs --json")) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["results"] == {"x": 1} and printed.err == "hello\n"


def test_a_number_that_json_cannot_say(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = QuestionAnswerer.load(place / "answerer")("who?", ["Ada"])
    monkeypatch.setattr(QuestionAnswerer, "__call__", lambda *_, **__: found._replace(score=float("nan")))
    assert main(filled(place, f"{ANSWER} --json --passages @passages")) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "the result must hold finite numbers to be JSON" in printed.err


def test_streams_that_are_closed(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after <&-
    assert main(filled(place, GENERATE)) == 2
    assert capsys.readouterr().err.startswith("error: [Errno 9] standard input is closed")
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        assert main(filled(place, f"{GENERATE} a")) == 2
    assert capsys.readouterr().err == "error: standard output is closed, so that no result could be seen\n"
    monkeypatch.setattr(sys, "stderr", None)
    assert main(filled(place, f"{GENERATE} --temperature x --traceback a")) == 2
    assert main(filled(place, "train @divides.py --folder @runs --json")) == 2
    assert capsys.readouterr().out == ""


def test_nobody_reads_on(place: Path) -> None:
    program = " ".join([sys.executable, "-m transformer_lib", *filled(place, GENERATE)])
    line = f"set -o pipefail; {program} --max-new-tokens 1 a b c | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 141 and done.stderr == ""


def test_a_full_disk_is_one_line(place: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))

    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "transformer_lib", *filled(place, f"{GENERATE} --json a")],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )
    assert done.returncode == 2 and done.stderr == "error: [Errno 27] File too large\n"


def test_an_interrupt_is_one_line(place: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(RECIPE + "import time; print('begun', flush=True); time.sleep(600)\n")
    command = [
        sys.executable,
        "-m",
        "transformer_lib",
        "train",
        str(tmp_path / "slow.py"),
        "--folder",
        str(tmp_path / "r"),
    ]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests that run in the background do not hear it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, preexec_fn=heard) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130 and err == "interrupted\n"


# Anything -------------------------------------------------------------------------------------------------------------

OWN_END = {"@tatoeba", "@exits.py", "@diverges.py"}
TYPED = sorted({word for line, *_ in TABLE for word in line.split()} - OWN_END)
MORE = [
    "--json",
    "--traceback",
    "--resume",
    "--drop",
    "--ignore",
    "--",
    "-",
    "-x",
    "cuda",
    "0.5",
    "1e400",
    "x=y",
    "@hf",
]
WORDS = st.one_of(st.sampled_from(TYPED + MORE), st.text(max_size=5), st.integers().map(str), st.floats().map(str))
BEGINNINGS = st.sampled_from(
    ["", f"{GENERATE} --max-new-tokens 2", f"{LEARNED} --max-new-tokens 2", HF, EXTRACT, ANSWER, "evaluate", "train"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(begin=BEGINNINGS, words=st.lists(WORDS, max_size=6), data=st.binary(max_size=20))
def test_any_arguments_have_an_end(
    begin: str,
    words: list[str],
    data: bytes,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(place)
    give(monkeypatch, data)
    arguments = [*filled(place, begin), *(str(place / word[1:]) if word.startswith("@") else word for word in words)]
    code = main(arguments)
    printed = capsys.readouterr()
    assert code in (0, 1, 2)
    lines = printed.err.splitlines()
    assert all(re.match(r"error: |line \d+: |question ", line) for line in lines) and "fault of" not in printed.err
    if "--traceback" not in arguments:
        assert "Traceback" not in printed.err
    assert sum(line.startswith("error: ") for line in lines) == (code == 2)
    if "--json" in arguments and code < 2 and not {"-h", "--help"} & set(arguments):
        json.loads(printed.out)
