"""`--engine` and `--compute`: a model is converted for another engine the first time, and found in the cache then."""

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from transformer_lib.checks import require
from transformer_lib.extras import needed

if TYPE_CHECKING:
    from transformer_lib.tasks.language_model import Writer
    from transformer_lib.tasks.opus import OpusTranslator
    from transformer_lib.tasks.translation import Translator

ENGINES = ("ctranslate2",)
COMPUTE = ("float32", "bfloat16", "int8")


def check_engine(options: Namespace) -> None:
    """`ValueError` for options that do not go together; said before a model is loaded, as is a missing package."""
    if options.engine is None:
        require(options.compute is None, "--compute", "must be given with --engine", options.compute)
        return
    require(options.device == "cpu", "--device", "must be cpu with --engine", options.device)
    talks = getattr(options, "chat", False) or getattr(options, "messages", None) is not None
    require(not talks, "--engine", "must be given without --chat and --messages", options.engine)
    with needed():
        import ctranslate2  # noqa: F401


def with_engine(tool: "Translator | OpusTranslator | Writer", options: Namespace) -> Any:
    """The tool itself, or on the engine that the options ask for."""
    if options.engine is None:
        return tool
    from transformer_lib.data.download import places
    from transformer_lib.tasks.engines import on_engine

    return on_engine(tool, places()[1] / "engines", compute=options.compute or "float32")
