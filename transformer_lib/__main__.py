"""The library from the command line: `python -m transformer_lib COMMAND`, where `--help` lists the commands.

Texts come from the arguments, from `--file` (one a line), or else from standard input. A mistake of the caller's ends
with one line that says what is wrong, and exit code 2; `evaluate` ends with 1 if the score is not the recorded one.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


# The commands ---------------------------------------------------------------------------------------------------------


def _train(options: argparse.Namespace) -> int:
    from transformer_lib.tasks.recipe import execute

    record = execute(
        options.recipe,
        seed=options.seed,
        device=options.device,
        folder=options.folder,
        resume=options.resume,
        options=dict(options.set),
        parallel=options.parallel,
    )
    if record:
        _print(options, record, json.dumps(record["results"], indent=1, ensure_ascii=False))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from transformer_lib.tasks.evaluation import score_again

    result = score_again(options.checkpoint, device=options.device)
    rows = [
        f"{name}: recorded {value}, found {result['found'].get(name)}" for name, value in result["recorded"].items()
    ]
    verdict = "exactly the record" if result["same"] else "NOT the record"
    _print(options, result, "\n".join([*rows, verdict]))
    return 0 if result["same"] else 1


def _translate(options: argparse.Namespace) -> int:
    from transformer_lib.tasks.translation import Translator

    translator = Translator.load(options.checkpoint, device=options.device)
    texts = _texts(options)
    found = translator(texts, beams=options.beams, length_penalty=options.length_penalty)
    pairs = [{"source": text, "target": target} for text, target in zip(texts, found, strict=True)]
    _print(options, pairs, "\n".join(found))
    return 0


def _extract(options: argparse.Namespace) -> int:
    from transformer_lib.tasks.extraction import EntityRelationExtractor

    found = EntityRelationExtractor.load(options.checkpoint, device=options.device)(_texts(options))
    rows, lines = [], []
    for sentence in found:
        spans = [" ".join(sentence.words[entity.start : entity.end]) for entity in sentence.entities]
        lines.append(" ".join(sentence.words))
        lines += [f"  {entity.kind}: {span}" for entity, span in zip(sentence.entities, spans, strict=True)]
        lines += [f"  {r.kind}: {spans[r.head]} -> {spans[r.tail]}" for r in sentence.relations]
        entities = [entity._asdict() for entity in sentence.entities]
        relations = [relation._asdict() for relation in sentence.relations]
        rows.append({"words": sentence.words, "entities": entities, "relations": relations})
    _print(options, rows, "\n".join(lines))
    return 0


def _answer(options: argparse.Namespace) -> int:
    from transformer_lib.tasks.question_answering import QuestionAnswerer

    answerer = QuestionAnswerer.load(options.checkpoint, device=options.device)
    text = options.passages.read_text(encoding="utf-8") if options.passages else sys.stdin.read()
    passages = [passage.strip() for passage in text.replace("\r\n", "\n").split("\n\n") if passage.strip()]
    found = answerer(options.question, passages)
    _print(options, found._asdict() | {"abstained": found.abstained}, found.text or "(no answer)")
    return 0


def _generate(options: argparse.Namespace) -> int:
    from transformer_lib.tasks.language_model import Writer

    if options.from_hf:
        from transformer_lib.interop.hub import find

        writer = Writer.from_hf(find(options.from_hf), device=options.device)
    else:
        writer = Writer.load(options.checkpoint, device=options.device)
    prompts = _texts(options)
    found = [
        writer(prompt, max_new_tokens=options.max_new_tokens, temperature=options.temperature, seed=options.seed)
        for prompt in prompts
    ]
    rows = [{"prompt": prompt, "text": text} for prompt, text in zip(prompts, found, strict=True)]
    _print(options, rows, "\n".join(prompt + text for prompt, text in zip(prompts, found, strict=True)))
    return 0


# What they are told, and what they say --------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m transformer_lib", description="Train, score and use Transformers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
        sub.add_argument("--json", action="store_true", help="print one JSON value")
        return sub

    def add_user(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = add(name, command, text)
        sub.add_argument("--checkpoint", type=Path, required=True, help="the folder of a saved model")
        return sub

    def add_texts(sub: argparse.ArgumentParser, what: str) -> None:
        sub.add_argument("text", nargs="*", help=f"{what}; without any: --file, or else standard input")
        sub.add_argument("--file", type=Path, help=f"a text file in UTF-8, {what} a line")

    train = add("train", _train, "run a recipe, and write what it measured to results/ beside it")
    train.add_argument("recipe", type=Path, help="a Python file, such as recipes/multi30k.py")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--folder", type=Path, help="for checkpoints and log (default: runs/NAME-seedK)")
    train.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the folder")
    train.add_argument("--set", type=_setting, action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    train.add_argument("--parallel", metavar="HOW", help="under torchrun: ddp (default), or fsdp2 for a sharded model")

    evaluate = add("evaluate", _evaluate, "score a saved model again and compare with its record")
    evaluate.add_argument("checkpoint", type=Path, help="the folder of a saved model")

    translate = add_user("translate", _translate, "translate sentences")
    add_texts(translate, "a sentence")
    translate.add_argument("--beams", type=int, default=5, help="1 is greedy (default: 5)")
    translate.add_argument("--length-penalty", type=float, default=1.0, help="0 prefers short ones (default: 1)")

    add_texts(add_user("extract", _extract, "find entities in sentences, and relations between them"), "a sentence")

    answer = add_user("answer", _answer, "answer a question from passages, or abstain")
    answer.add_argument("question")
    answer.add_argument("--passages", type=Path, help="a text file, passages apart by empty lines (default: stdin)")

    generate = add("generate", _generate, "continue texts with a language model")
    model = generate.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, help="the folder of a saved model")
    model.add_argument("--from-hf", metavar="MODEL", help="a folder of transformers', or OWNER/MODEL of the Hub")
    add_texts(generate, "the beginning of a text")
    generate.add_argument("--max-new-tokens", type=int, default=200, help="(default: 200)")
    generate.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    generate.add_argument("--seed", type=int, default=0)
    return parser


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, got {text!r}")
    return key, value


def _texts(options: argparse.Namespace) -> list[str]:
    """From the arguments; otherwise the lines of the file, or of standard input."""
    if options.text and options.file:
        raise ValueError("text must be given as arguments or as --file, got both")
    if options.text:
        return list(options.text)
    whole = options.file.read_text(encoding="utf-8") if options.file else sys.stdin.read()
    lines = whole.removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines] if whole else []


def _print(options: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False) if options.json else text)


if __name__ == "__main__":
    sys.exit(main())
