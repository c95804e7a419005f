"""Execute chapters and store them normalised, so that a diff of a notebook shows what changed and nothing else.

Kept: sources, outputs, execution counts 1..n, cell ids, tags and figure metadata. Dropped: time stamps, versions,
editor state, the frames of an expected exception (they hold paths of this machine). A notebook with a failing cell
stays as it was.

A digest of all outputs is stored with them. It fits as long as they are those of one execution, so that a figure and
the table beside it show the same numbers; a single output that was put in by hand shows.

    python tools/notebooks.py [--timeout SECONDS] chapters/attention.ipynb ...

Every chapter has the same first code cell, which does nothing where the library is installed and fetches it elsewhere:
Colab opens a notebook alone. It is put there before the chapter runs, or, with --first-cell, without running it.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT_METADATA = ("mystnb", "tags")
DIGEST = "outputs"  # where a notebook's metadata keeps that of its outputs
FIRST_CELL = """\
# Where the library is missing, as on Colab, this fetches it with the book.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("transformer_lib") is None:
    url = "{url}"
    branch = "{branch}"
    if not url:
        raise ModuleNotFoundError("transformer_lib: say in url where it is")
    if not os.path.isdir("book"):
        clone = ["git", "clone", "-q", "--depth=1", "-b", branch, url, "book"]
        subprocess.run(clone, check=True)
    packages = [{packages}]
    pip = [sys.executable, "-m", "pip", "install", "-q", *packages]
    subprocess.run(pip, check=True)
    importlib.invalidate_caches()
if os.path.isdir("book/{folder}"):
    os.chdir("book/{folder}")\
"""
# What a chapter needs beside figures and tasks, by what stands in its code: extras, and one package that is none.
EXTRAS = {"hf": r"interop\.hub", "keras": r"\b(keras|tensorflow)\b", "onnx": r"\bonnx"}


def execute(notebook: NotebookNode, folder: Path, timeout: int) -> None:
    """Run every cell in a fresh kernel started in `folder`; fills in outputs and counts in place."""
    notebook.metadata = NotebookNode(kernelspec=KERNEL)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        startup_timeout=max(timeout, 600),  # a busy machine may take minutes to start a kernel
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=40"],  # quiet about an unencrypted connection to itself
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()


def normalise(notebook: NotebookNode) -> None:
    """Drop in place what differs from run to run or from machine to machine."""
    executed = {key: notebook.metadata[key] for key in (DIGEST,) if key in notebook.metadata}
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"}, **executed)
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # the first minor version whose cells have ids
    used: set[str] = set()
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in KEPT_METADATA if cell.metadata.get(key)})
        if cell.get("id", "") in used | {""}:
            cell["id"] = next(name for name in _names(number) if name not in used)
        used.add(cell["id"])
        for output in cell.get("outputs", []):
            _normalise_output(output)


def digest_of_outputs(notebook: NotebookNode) -> str:
    """A short name for all that the cells gave, whatever the numbers of the cells."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    content = [{key: output[key] for key in output if key != "execution_count"} for cell in outputs for output in cell]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def put_first_cell(notebook: NotebookNode, folder: str) -> None:
    """Write the cell that fetches the library; where it is new, the counts of the others move on by one."""
    options = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"][
        "html_theme_options"
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.get("id") != "install"]
    text = "\n".join(cell.source for cell in code)
    extras = ["plot", "tasks", *(extra for extra, pattern in EXTRAS.items() if re.search(pattern, text))]
    packages = [f"./book[{','.join(extras)}]"]
    if re.search(r"(import|from|find_spec\(\") ?transformers\b", text):
        packages.append("transformers")
    source = FIRST_CELL.format(
        url=options["repository_url"],
        branch=options["repository_branch"],
        packages=", ".join(f'"{package}"' for package in packages),
        folder=folder,
    )
    present = next((cell for cell in notebook.cells if cell.get("id") == "install"), None)
    if present:
        present.source = source
        return
    new = new_code_cell(source, id="install", metadata={"tags": ["remove-cell"]})
    first = next((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
    notebook.cells.insert(first, new)
    if all(cell.execution_count for cell in code):
        for count, cell in enumerate([new, *code], start=1):
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count


def refresh(path: Path, timeout: int, *, run: bool = True) -> None:
    """Execute, normalise and store one notebook; the file is replaced in one step, or not at all."""
    notebook = nbformat.read(path, as_version=4)
    folder = path.resolve().parent
    if folder.is_relative_to(ROOT / "chapters"):
        put_first_cell(notebook, folder.relative_to(ROOT).as_posix())
    if run:
        execute(notebook, folder, timeout)
    normalise(notebook)
    if run:
        notebook.metadata[DIGEST] = digest_of_outputs(notebook)
    nbformat.validate(notebook)
    partial = path.with_suffix(".ipynb.partial")
    try:
        nbformat.write(notebook, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Execute and normalise notebooks.")
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--first-cell", action="store_true", help="only write the first code cell, run nothing")
    parser.add_argument("--timeout", type=int, default=300, help="seconds a single cell may take")
    options = parser.parse_args(arguments)
    os.environ["TRANSFORMER_DEVICE"] = "cpu"  # stored outputs are those of the CPU
    failed = 0
    for path in options.notebooks:
        print(f"{path} ...", end=" ", flush=True)
        start = time.perf_counter()
        try:
            refresh(path, options.timeout, run=not options.first_cell)
            print(f"{time.perf_counter() - start:.1f} s", flush=True)
        except (CellExecutionError, CellTimeoutError, RuntimeError, OSError, nbformat.ValidationError) as error:
            failed += 1
            print(f"FAILED after {time.perf_counter() - start:.1f} s, left as it was\n{error}", flush=True)
    return 1 if failed else 0


def _normalise_output(output: NotebookNode) -> None:
    if output.output_type == "error":
        output.traceback = [f"{output.ename}: {output.evalue}"]
    if "metadata" in output:
        output.metadata = NotebookNode()
    for mime, text in output.get("data", {}).items():
        if mime.startswith("image/"):
            output.data[mime] = text.rstrip("\n") + "\n"


def _names(number: int) -> list[str]:
    return [f"c{number:02d}", *(f"c{number:02d}-{again}" for again in range(2, 1000))]


if __name__ == "__main__":
    sys.exit(main())
