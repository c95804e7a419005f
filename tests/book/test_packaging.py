"""The package as others get it: what its wheel holds, what its metadata claims, and the files that speak of both."""

import datetime
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"book", "hf", "keras", "onnx", "tasks", "dev"}
SMALLER = {"tensorflow-cpu": "tensorflow"}  # the same, without what a GPU needs
PYTHONS = ["3.11", "3.12", "3.13"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy and without the network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    # A copy with the other folders in it too, since the wheel must leave them out by itself.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.py", "*.md", "*.toml", "LICENSE*", "*.typed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-w", str(out)]
    run = subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "transformer_lib"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = {name for name in listed.stdout.split() if (ROOT / name).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert {"transformer_lib/py.typed", "transformer_lib/nn/attend.py"} <= held


def test_the_wheel_runs_where_the_tree_is_not(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import transformer_lib; print(transformer_lib.__file__);"
        "from importlib.metadata import version; print(version('transformer_lib'))"
    )
    # -I keeps out the current folder and PYTHONPATH; what comes first on the path is then the wheel.
    command = [sys.executable, "-I", "-c", code, str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    place, version = run.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert version == PROJECT["version"]


def test_the_metadata_says_what_the_readme_says(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) >= EXTRAS
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = {name for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", readme, re.M) for name in re.findall(r"\w+", row)}
    assert told == set(metadata.get_all("Provides-Extra", []))
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]


def test_the_pythons_agree_everywhere(metadata: Message) -> None:
    claimed = [
        match[1]
        for line in metadata.get_all("Classifier", [])
        if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]
    assert claimed == PYTHONS
    allowed = SpecifierSet(metadata["Requires-Python"])
    assert all(python in allowed for python in PYTHONS)
    assert "3.10" not in allowed


def test_the_version_is_one() -> None:
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert changes[0] == PROJECT["version"]
    assert citation()["version"] == PROJECT["version"]
    book = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    assert book["version"] == PROJECT["version"]


def test_every_pin_is_in_the_metadata_and_keeps_to_it() -> None:
    """Else the weekly run against the newest releases would leave out what the tests need."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    bounds = {canonicalize_name(bound.name): bound for lines in lists for bound in map(Requirement, lines)}
    files = [ROOT / name for name in ("requirements-book.txt", "requirements.txt")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    pins = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    assert len(pins) > 20
    faults = []
    for pin in pins:
        [specifier] = pin.specifier
        bound = bounds.get(canonicalize_name(SMALLER.get(pin.name, pin.name)))
        if specifier.operator != "==" or bound is None or specifier.version not in bound.specifier:
            faults.append(f"{pin} against {bound}")
    assert faults == []


def citation() -> dict[str, Any]:
    # As text: YAML would take a version such as 1.0 for a number.
    loaded: dict[str, Any] = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return loaded


def test_the_citation_is_complete() -> None:
    cited = citation()
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "date-released", "license"} <= set(cited)
    assert cited["cff-version"] == "1.2.0"
    assert cited["title"] == config["title"]
    assert cited["authors"] == [{"name": config["author"]}]
    assert cited["license"] == ["MIT", "CC-BY-SA-4.0"]
    assert datetime.date.fromisoformat(cited["date-released"]).year == int(config["copyright"])


def test_the_licences_are_whole() -> None:
    code = (ROOT / "LICENSE").read_text(encoding="utf-8")
    prose = (ROOT / "LICENSE-TEXT").read_text(encoding="utf-8")
    assert code.startswith("MIT License\n\nCopyright (c) 2026 The authors")
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in code
    assert "Creative Commons Attribution-ShareAlike 4.0 International Public License" in " ".join(prose.split())
    sections = [int(number) for number in re.findall(r"^Section (\d)", prose, re.M)]
    assert sections == list(range(1, 9))


def commands(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def faults(command: str) -> list[str]:
    """What a line of a workflow names that is not there: a target of the Makefile, a file, an extra, a test."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    found = []
    words = command.split()
    if words[0] == "make":
        found += [f"no target {word}" for word in words[1:] if "=" not in word and word not in targets]
    found += [f"no file {name}" for name in re.findall(r"-r (\S+)", command) if not (ROOT / name).is_file()]
    for name, test in re.findall(r"--deselect (\S+)::(\w+)", command):
        text = (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).is_file() else ""
        found += [] if f"def {test}(" in text else [f"no test {name}::{test}"]
    for extras in re.findall(r"\.\[([\w,]+)\]", command):
        found += [f"no extra {name}" for name in extras.split(",") if name not in PROJECT["optional-dependencies"]]
    return found


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_there(workflow: Path) -> None:
    lines = commands(workflow)
    assert lines
    assert [fault for line in lines for fault in faults(line)] == []


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("make tset PYTHON=python", "no target tset"),
        ("pip install -r requirement.txt", "no file requirement.txt"),
        ('pip install -e ".[dev,onx]"', "no extra onx"),
        ("pytest --deselect tests/test_book.py::test_none", "no test tests/test_book.py::test_none"),
    ],
)
def test_a_wrong_command_is_found(command: str, fault: str) -> None:
    assert faults(command) == [fault]


def test_the_workflows_cover_what_is_claimed() -> None:
    loaded = {path.stem: yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) for path in WORKFLOWS}
    assert set(loaded) == {"test", "newest", "gpu", "publish"}
    assert set(loaded["publish"]["on"]) == {"workflow_dispatch"}  # a fork publishes only what it means to
    test = loaded["test"]["jobs"]
    assert {*test["make"]["strategy"]["matrix"]["os"], test["windows"]["runs-on"]} == {
        *("ubuntu-latest", "macos-latest", "windows-latest")
    }
    assert all(job["strategy"]["matrix"]["python"] == PYTHONS for job in test.values())
    assert "schedule" in loaded["newest"]["on"]
    gpu = loaded["gpu"]
    assert set(gpu["on"]) == {"workflow_dispatch"}  # never the code of a pull request on one's own machine
    assert gpu["jobs"]["gpu"]["runs-on"][0] == "self-hosted"
    assert gpu["jobs"]["gpu"]["env"] == {"TRANSFORMER_DEVICE": "cuda"}


def test_windows_runs_what_the_readme_says() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    windows = [line for line in commands(ROOT / ".github/workflows/test.yml") if line.startswith(".venv\\")]
    assert len(windows) == 3
    assert [line for line in windows if line not in readme] == []


CHECKOUT = "actions/checkout"
PINNED = re.compile(r"\s*(?:- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def too_much(workflow: str) -> list[str]:
    """What others could use: an action that can be changed, a right to write beside code of others, a token on disk."""
    found = [
        f"not a commit: {line.strip()}"
        for line in workflow.splitlines()
        if "uses:" in line and not PINNED.fullmatch(line)
    ]
    loaded = yaml.load(workflow, Loader=yaml.BaseLoader)
    if not isinstance(loaded.get("permissions"), dict):
        found.append("no permissions")
    for name, job in loaded["jobs"].items():
        rights = job.get("permissions", loaded.get("permissions"))
        actions = {step["uses"].partition("@")[0]: step for step in job["steps"] if "uses" in step}
        writes = not isinstance(rights, dict) or "write" in rights.values()
        if writes and (CHECKOUT in actions or any("run" in step for step in job["steps"])):
            found.append(f"{name} may write, and runs code")
        if CHECKOUT in actions and actions[CHECKOUT].get("with", {}).get("persist-credentials") != "false":
            found.append(f"{name} leaves a token on the disk")
    return found


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_no_more_than_it_must(workflow: Path) -> None:
    assert too_much(workflow.read_text(encoding="utf-8")) == []


def test_every_workflow_takes_the_same_commit_of_an_action() -> None:
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS]
    used = {line for text in texts for line in re.findall(r"uses: (.*)", text)}
    assert len(used) == len({line.partition("@")[0] for line in used}) == 4


def test_only_the_job_that_publishes_may_write() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert jobs["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert jobs["deploy"]["needs"] == "build"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (r"(deploy-pages)@.*", r"\1@v4", "not a commit: - uses: actions/deploy-pages@v4"),
        (r"(deploy-pages@\w+) #.*", r"\1", "not a commit: - uses: actions/deploy-pages@"),
        (r"permissions: {}", "", "no permissions"),
        (r"permissions: {}", "permissions: write-all", "no permissions"),
        (r"contents: read", "id-token: write", "build may write, and runs code"),
        (r"permissions:\n      contents: read", "permissions: write-all", "build may write, and runs code"),
        (r"persist-credentials: false", "fetch-depth: 1", "build leaves a token on the disk"),
    ],
)
def test_a_workflow_that_may_do_more_is_found(old: str, new: str, fault: str) -> None:
    spoiled, count = re.subn(old, new, (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8"))
    assert count
    [found] = too_much(spoiled)
    assert found.startswith(fault)
