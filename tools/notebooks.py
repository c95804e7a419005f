"""Execute chapters and store them normalised, so that a diff of a notebook shows what changed and nothing else.

Kept: sources, outputs, execution counts 1..n, cell ids, tags and figure metadata. Dropped: time stamps, versions,
editor state, the frames of an expected exception (they hold paths of this machine). A notebook with a failing cell
stays as it was.

    python tools/notebooks.py [--timeout SECONDS] chapters/attention.ipynb ...
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT_METADATA = ("mystnb", "tags")


def execute(notebook: NotebookNode, folder: Path, timeout: int) -> None:
    """Run every cell in a fresh kernel started in `folder`; fills in outputs and counts in place."""
    notebook.metadata = NotebookNode(kernelspec=KERNEL)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=40"],  # quiet about an unencrypted connection to itself
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()


def normalise(notebook: NotebookNode) -> None:
    """Drop in place what differs from run to run or from machine to machine."""
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # the first minor version whose cells have ids
    used: set[str] = set()
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in KEPT_METADATA if cell.metadata.get(key)})
        if cell.get("id", "") in used | {""}:
            cell["id"] = next(name for name in _names(number) if name not in used)
        used.add(cell["id"])
        for output in cell.get("outputs", []):
            _normalise_output(output)


def refresh(path: Path, timeout: int) -> None:
    """Execute, normalise and store one notebook; the file is replaced in one step, or not at all."""
    notebook = nbformat.read(path, as_version=4)
    execute(notebook, path.resolve().parent, timeout)
    normalise(notebook)
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
    parser.add_argument("--timeout", type=int, default=300, help="seconds a single cell may take")
    options = parser.parse_args(arguments)
    os.environ["TRANSFORMER_DEVICE"] = "cpu"  # stored outputs are those of the CPU
    failed = 0
    for path in options.notebooks:
        print(f"{path} ...", end=" ", flush=True)
        start = time.perf_counter()
        try:
            refresh(path, options.timeout)
            print(f"{time.perf_counter() - start:.1f} s", flush=True)
        except (CellExecutionError, CellTimeoutError, DeadKernelError, OSError, nbformat.ValidationError) as error:
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
