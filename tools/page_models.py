"""Models that run in the reader's browser: a script of each, written into the built site from `recipes/models`.

A script holds the model's `about.json`, its tokeniser, and its weights in half precision as base64 of the safetensors
file, since a page that is opened from a disk can load scripts and nothing else. The engine that reads them is
`_static/widgets/engine`. The scripts are in the site alone: the tree has the models once, in `recipes/models`.
"""

import base64
import json
import re
from pathlib import Path

from sphinx.application import Sphinx

MODELS = Path(__file__).parents[1] / "recipes" / "models"
WIDGETS = {"shakespeare-small": {"text", "beam"}, "tatoeba-en-zh": {"translate"}}  # which ask for the model
NAMES = tuple(WIDGETS)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", write_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_scripts(app: Sphinx, error: Exception | None) -> None:
    if app.builder.name != "html" or error:
        return
    pages = (page.read_text(encoding="utf-8") for page in Path(app.outdir).rglob("*.html"))
    used = {name for page in pages for name in re.findall(r'data-widget="(\w+)"', page)}
    folder = Path(app.outdir) / "_static" / "models"
    for name, widgets in WIDGETS.items():
        if widgets & used:  # a book of a few pages may do without
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.js").write_text(script_of(MODELS / name), encoding="utf-8")


def script_of(model: Path, name: str | None = None) -> str:
    """The script that brings the model of a folder into a page, under the folder's name unless another is given."""
    parts = {
        "about": json.loads((model / "about.json").read_text(encoding="utf-8")),
        "tokenizer": json.loads((model / "tokenizer.json").read_text(encoding="utf-8")),
        "weights": base64.b64encode((model / "model.safetensors").read_bytes()).decode("ascii"),
    }
    texts = (json.dumps(part, ensure_ascii=False, separators=(",", ":")) for part in (name or model.name, parts))
    return f"Engine.store({','.join(texts)});\n"
