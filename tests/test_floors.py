"""The library is a house of floors: a module imports from lower floors only, and inside a folder in the order listed.

The order is that in which the book could be read. A new module must be given its place here.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "transformer_lib"
FLOORS: dict[str, int] = {
    "checks": 0,
    "kinds": 1,
    "contract": 2,
    **dict.fromkeys(["files", "identity"], 4),
    **dict.fromkeys(["device", "extras", "later"], 3),
    "config": 4,
    "tensor_files": 5,
    **dict.fromkeys(["nn", "text", "scratch"], 5),
    **dict.fromkeys(["models", "data", "training"], 6),
    "generation": 7,
    **dict.fromkeys(["interop", "runs"], 8),
    "tasks": 9,
    "exercises": 10,
    "book": 11,
    **dict.fromkeys(["viz", "folders"], 12),
    **dict.fromkeys(["cli", "__init__"], 13),
    "__main__": 14,
}
ORDER: dict[str, tuple[str, ...]] = {
    "config": (
        "scaling",
        "positions",
        "attention",
        "feedforward",
        "experts",
        "mixers",
        "model",
        "plain",
        "as_json",
        "words",
    ),
    "nn": (
        *("memory", "fit", "norm", "dropout", "positions", "masks", "state", "local", "kept", "cache", "kept_slots"),
        *("fixed_cache", "rolling_cache", "relations", "kernels", "attend", "tiled", "triton_attend", "blocks"),
        *("lora", "attention", "latent", "delta", "delta_mixer", "linear_attention"),
        *("feedforward", "grouped", "router", "experts", "block", "embedding", "init", "further"),
    ),
    "text": (
        *("bpe", "frame", "tokenizer", "words", "piece_file", "pieces", "stored"),
        *("token_config", "published", "sandbox", "chat", "spoken"),
    ),
    "scratch": ("autograd", "functions", "attention", "decoder", "optim", "pencil"),
    "models": ("decoder", "multi_token", "encoder", "seq2seq", "heads", "classifiers", "presets"),
    "data": (
        *("corpora", "examples", "download", "datasets"),
        *("toy", "toy_languages", "toy_lexicon", "toy_meaning", "toy_grammar", "toy_translation"),
        *("toy_extraction", "question_forms", "toy_questions", "packing", "batching", "ngram", "own"),
    ),
    "data/own": ("found", "splits", "pairs", "columns", "offsets", "questions", "texts", "chats", "kind", "survey"),
    "training": (
        *("loss", "further", "chunked", "schedule", "recompute"),
        *("deferred", "parts", "hollow", "layout", "tensor_parallel", "parallel", "newton_schulz", "optim", "gradient"),
        *("config", "counts", "precision", "log", "patience", "state", "sharded", "checkpoint", "consolidate", "share"),
        *("loop", "grid", "costs", "plan", "failures", "pipeline", "traffic", "within"),
    ),
    "interop": (
        *("pickled", "shards", "layouts", "names", "llama_names", "families", "weights", "labels"),
        *("generation_config", "reader", "layer_types", "rope_configs", "mixed_configs", "expert_configs"),
        *("latent_configs", "modernbert_configs", "encoder_configs", "configs", "huggingface"),
        *("adapters", "alike", "hub"),
        *("keras_positions", "keras_layers", "keras", "onnx_file", "onnx", "engine_specs", "engine_folder", "engines"),
    ),
    "generation": (
        *("batching", "sampling", "choices", "layout", "generate", "conditioned", "recorded"),
        *("beam", "speculative"),
    ),
    "runs": ("provenance", "account", "ranks", "recipe", "practice", "haystacks", "recall", "records", "experiment"),
    "tasks": (
        "metrics",
        "answer_scores",
        "calibration",
        "intervals",
        "saved",
        "readable",
        "inputs",
        "candidates",
        "translation",
        "translation_shortcuts",
        "translation_errors",
        "tagging",
        "tag_marginals",
        "found",
        "mentions",
        "extraction_model",
        "extraction",
        "extraction_errors",
        "extraction_shortcuts",
        "encoder",
        "entity_tagger",
        "retrieval",
        "reading",
        "question_answering",
        "answer_calibration",
        "answer_rules",
        "answer_errors",
        "pretraining",
        "language_model",
        "talk",
        "opus",
        "engines",
        "paragraphs",
        "sureness",
        "evaluation",
        "translation_run",
        "own",
    ),
    "tasks/own": (
        *("material", "training", "adapting", "starting", "translation", "extraction", "answers"),
        *("text", "further_text", "further_translation", "encoder", "scoring"),
    ),
    "exercises": (
        *("verdict", "agree", "numbers", "function", "made", "exercise", "chapters", "catalogue"),
        *("questions", "question_files", "question_text"),
    ),
    "exercises/chapters": (
        *("background", "tokens", "attention", "architecture", "math", "forward", "backward", "code", "training"),
        *("tools", "outlook", "faq", "errata", "translation", "extraction", "question_answering", "howto"),
        *("generation", "performance", "scale", "modern", "memory", "long", "hybrid", "experts"),
    ),
    "viz": ("style", "record", "alignment", "outputs", "plot", "names", "label", "diagram", "parts", "drawings"),
    "cli": ("lines", "streams", "data", "results", "asked", "talk", "engines", "weights", "commands", "arguments"),
}
MOST_LINES, MOST_FUNCTION_LINES = 300, 60
NOT_AT_IMPORT = {
    *("IPython", "ctranslate2", "jinja2", "keras", "matplotlib", "onnx", "onnxruntime", "onnxscript", "opencc"),
    *("regex", "sacrebleu"),
    *("safetensors", "sentencepiece", "sentencex", "tensorflow", "tokenizers", "tqdm", "transformers", "triton"),
}


def imports(file: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """Every library module that a file imports, anywhere in it, as a path of names below the package."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            package = file.relative_to(root.parent).parts[: -node.level] if node.level else ()
            module = (*package, *(node.module.split(".") if node.module else ()))
            # `from package import name` names a module where there is one, else a thing in the package's __init__.
            candidates = [(*module, alias.name) for alias in node.names]
            found = [path if _is_module(root, path) else module for path in candidates]
        elif isinstance(node, ast.Import):
            found = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        yield from (path[1:] or ("__init__",) for path in found if path[0] == root.name)


def _is_module(root: Path, path: tuple[str, ...]) -> bool:
    target = root.parent.joinpath(*path)
    return target.with_suffix(".py").is_file() or (target / "__init__.py").is_file()


def violations(root: Path) -> list[str]:
    """What breaks the floors, the order inside a folder, or the bounds on length: one line each."""
    found = []
    for file in sorted(root.rglob("*.py")):
        here = file.relative_to(root).with_suffix("").parts
        name = "/".join(here)
        if here[0] not in FLOORS:
            found.append(f"{name} has no floor")
            continue
        if len(here) > 1 and here[1] not in [*ORDER.get(here[0], []), "__init__"]:
            found.append(f"{name} has no place in the order of its folder")
            continue
        found += [
            f"{name} may not import {'/'.join(there)}" for there in imports(file, root) if not _lower(there, here)
        ]
        text = file.read_text()
        if len(text.splitlines()) > MOST_LINES:
            found.append(f"{name} is longer than {MOST_LINES} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    found.append(f"{name}: {node.name} is longer than {MOST_FUNCTION_LINES} lines")
    return found


def _lower(there: tuple[str, ...], here: tuple[str, ...]) -> bool:
    if there[0] != here[0] or len(here) == 1:
        return FLOORS.get(there[0], 99) < FLOORS[here[0]]
    if len(here) > 2 and there[1:2] == here[1:2]:  # a folder in a folder has an order of its own
        places, inner = [*ORDER["/".join(here[:2])], "__init__"], there[2] if len(there) > 2 else "__init__"
        return inner in places and places.index(inner) < places.index(here[2])
    places = [*ORDER[here[0]], "__init__"]
    target = there[1] if len(there) > 1 else "__init__"
    return target in places and places.index(target) < places.index(here[1])


def test_every_module_keeps_to_its_floor() -> None:
    assert violations(ROOT) == []


def test_importing_the_library_imports_nothing_heavy() -> None:
    # torch itself imports tqdm where it is installed, so what counts is what the library adds.
    probe = "import sys, torch; before = set(sys.modules); import transformer_lib; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert "transformer_lib" in loaded
    assert sorted(set(loaded) & NOT_AT_IMPORT) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("nn/norm.py", "from transformer_lib.models import heads", "nn/norm may not import models/heads"),
        ("nn/norm.py", "from transformer_lib.nn.block import Block", "nn/norm may not import nn/block"),
        ("nn/norm.py", "from .block import Block", "nn/norm may not import nn/block"),
        ("nn/norm.py", "from . import block", "nn/norm may not import nn/block"),
        ("nn/norm.py", "from transformer_lib.nn import Block", "nn/norm may not import nn"),
        ("nn/norm.py", "from transformer_lib import Attention", "nn/norm may not import __init__"),
        (
            "data/packing.py",
            "def f():\n    import transformer_lib.training.loss",
            "data/packing may not import training/loss",
        ),
        ("nn/other.py", "", "nn/other has no place in the order of its folder"),
        ("other/norm.py", "", "other/norm has no floor"),
        ("nn/norm.py", "\n" * 301, "nn/norm is longer than 300 lines"),
        ("nn/norm.py", "def f():\n" + "    pass\n" * 60, "nn/norm: f is longer than 60 lines"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    root = tmp_path / "transformer_lib"
    for path in ["__init__.py", "nn/__init__.py", "nn/block.py", "models/__init__.py", "models/heads.py", file]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    assert violations(root) == ([complaint] if text == "" else [])
    (root / file).write_text(text)
    assert violations(root) == [complaint]


def test_what_is_allowed_is_not_reported(tmp_path: Path) -> None:
    root = tmp_path / "transformer_lib"
    texts = {
        "__init__.py": "from transformer_lib.models.heads import head as head",
        "config.py": "import torch",
        "nn/__init__.py": "from .block import Block as Block",
        "nn/norm.py": "from transformer_lib.config import Norm",
        "nn/block.py": "from transformer_lib.nn.norm import build_norm",
        "models/heads.py": "from transformer_lib.nn import Block\nfrom transformer_lib.nn.block import Block as B",
    }
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    assert violations(root) == []
