"""The lock: one version of every package that is installed, the same in every file, and what `make` does with it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
CUDA = re.compile(r"(cuda|nvidia)-.+|triton")  # of the build of torch for a GPU, which not every machine has


def requirements(name: str) -> list[Requirement]:
    """What a file of requirements or constraints names, with what it reads."""
    return [Requirement(line) for line in tool().asked(ROOT / name)]


def locked(*, everywhere: bool = False) -> dict[str, set[str]]:
    """The versions of constraints.txt by name, for this system and Python unless for all of them."""
    found: dict[str, set[str]] = {}
    for pin in requirements("constraints.txt"):
        if everywhere or pin.marker is None or pin.marker.evaluate():
            found.setdefault(canonicalize_name(pin.name), set()).add(version(pin))
    return found


def version(pin: Requirement) -> str:
    [specifier] = pin.specifier
    assert specifier.operator == "==", str(pin)
    return specifier.version


def required(asked: Iterable[Requirement]) -> dict[str, str]:
    """The version of every installed package that is asked for, directly or by one that is; without a local part."""
    installed: dict[str, Distribution] = {canonicalize_name(each.metadata["Name"]): each for each in distributions()}
    found, left, seen = {}, list(asked), set()
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
                continue
            seen.add((name, extra))
            found[name] = Version(installed[name].version).public
            further = [Requirement(line) for line in installed[name].requires or []]
            chosen = [each for each in further if each.marker is None or each.marker.evaluate({"extra": extra})]
            for each in chosen:
                each.marker = None
            left += chosen
    return found


def test_what_is_installed_is_what_is_locked() -> None:
    """Both ways: nothing floats, and nothing stands in the lock that no package here asks for."""
    installed, pins = required(requirements("requirements.txt")), locked()
    assert len(installed) > 150
    assert {name: {each} for name, each in installed.items()} == {name: pins.get(name) for name in installed}
    unused = set(pins) - set(installed) - set(tool().BUILD) - {"vcs-versioning"}
    assert [name for name in unused if not CUDA.fullmatch(name)] == []


def test_a_line_of_the_lock_is_a_version_and_no_place() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^;#@]+)?", line)] == []
    assert len(set(lines)) == len(lines) > 200


@pytest.mark.parametrize("name", ["requirements.txt", "bench/requirements.txt"])
def test_a_pin_is_that_of_the_lock(name: str) -> None:
    pins = locked(everywhere=True)
    asked = requirements(name)
    assert len(asked) > 10
    if name == "requirements.txt":
        assert {canonicalize_name(pin.name) for pin in asked} <= set(pins)
    for pin in asked:
        assert pins.get(canonicalize_name(pin.name), {version(pin)}) == {version(pin)}, str(pin)


def test_what_names_no_version_takes_that_of_the_lock() -> None:
    locks = {"requirements.txt": "constraints.txt", "requirements-book.txt": "constraints.txt"}
    for name, lock in (locks | {"tests/light.txt": "../constraints.txt"}).items():
        assert f"\n-c {lock}\n" in (ROOT / name).read_text(encoding="utf-8")
    pins = locked(everywhere=True)
    assert {canonicalize_name(pin.name) for pin in requirements("tests/light.txt")} <= set(pins)
    assert set(tool().BUILD) <= set(pins)


def dry_run(target: str, folder: Path) -> str:
    """What make would do; as by hand, also where the tests themselves were started by make, which leaves variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-n", target]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_installs_again_when_the_lock_changes_and_builds_with_it(tmp_path: Path) -> None:
    pins = ("requirements-book.txt", "requirements.txt", "bench/requirements.txt")
    for name in ("Makefile", "pyproject.toml", "constraints.txt", *pins):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def commands() -> list[str]:
        return dry_run("setup", tmp_path).splitlines()

    installs, stamp = [line for line in commands() if " -r " in line], commands()[-1]
    assert [line.partition(" -r ")[2] for line in installs] == ["requirements-book.txt", "requirements.txt"]
    for install in installs:
        assert {"PIP_CONSTRAINT=constraints.txt", "PIP_BUILD_CONSTRAINT=constraints.txt"} < set(install.split())
    with (tmp_path / "constraints.txt").open("a") as file:
        file.write("another==1\n")
    assert stamp.startswith("touch ") and commands()[-1] != stamp


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("target", "read"), [("book", True), ("epub", True), ("test", False), ("lab", False), ("notebooks", False)]
)
def test_reading_the_book_takes_a_part_of_what_running_it_does(tmp_path: Path, target: str, read: bool) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-book.txt", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "requirements.txt").touch()
    shown = dry_run(target, tmp_path)
    assert "-r requirements-book.txt" in shown
    assert ("-r requirements.txt" in shown) != read


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_other_instructions_have_a_cache_of_compiled_kernels_of_their_own(tmp_path: Path) -> None:
    """Inductor's cache on disk gives a kernel with AVX-512 to a process without it, where it does not compile."""
    for name in ("pyproject.toml", "constraints.txt", "requirements-book.txt", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "requirements.txt").touch()
    shown = '\nshown:\n\t@echo "[$$TORCHINDUCTOR_CACHE_DIR]"\n'
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text() + shown)

    def cache(**variables: str) -> str:
        inherited = {"PATH": os.environ["PATH"], **variables}
        done = subprocess.run(
            ["make", "shown"], cwd=tmp_path, env=inherited, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert cache() == "[]"
    assert cache(ATEN_CPU_CAPABILITY="default") not in ("[]", cache(ATEN_CPU_CAPABILITY="avx2"))
    assert cache(ATEN_CPU_CAPABILITY="default", TORCHINDUCTOR_CACHE_DIR="mine") == "[mine]"


def test_what_reading_takes_is_light() -> None:
    names = {canonicalize_name(each) for each in required(requirements("requirements-book.txt"))}
    heavy = {"keras", "onnx", "onnxruntime", "playwright", "tensorflow", "tensorflow-cpu", "transformers", "jupyterlab"}
    assert {"jupyter-book", "torch"} < names and names.isdisjoint(heavy)
    assert names < set(required(requirements("requirements.txt")))


# The tool that writes it.


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "tools" / "lock.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_resolved_is_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("# a comment\n-c constraints.txt\n-r part.txt\n\ntorch==2.0  \n-e .\n")
    (tmp_path / "part.txt").write_text("-c constraints.txt\nnumpy==2.0\n")
    assert tool().asked(tmp_path / "all.txt") == ["numpy==2.0", "torch==2.0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text("-c constraints.txt\na==1\n")
    (tmp_path / "constraints.txt").write_text("# old\na==1\nb==1\nc==1\n")
    return tmp_path


def test_a_new_lock_says_what_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tool()
    monkeypatch.setattr(lock, "ROOT", folder)
    monkeypatch.setattr(lock, "resolve", lambda asked, old, options, empty: "a==1\nb==2\n")
    assert lock.main([]) == 0
    assert (folder / "constraints.txt").read_text() == lock.HEADER + "a==1\nb==2\n"
    assert capsys.readouterr().out.splitlines() == ["+ b==2", "- b==1", "- c==1"]
    assert lock.main([]) == 0
    assert capsys.readouterr().out == "nothing changed\n"
    assert sorted(path.name for path in folder.iterdir()) == ["constraints.txt", "requirements.txt"]


def test_a_lock_that_cannot_be_made_leaves_the_old_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tool()

    def fails(*given: object) -> str:
        raise subprocess.CalledProcessError(1, [sys.executable, "-m", "uv", "pip", "compile"])

    monkeypatch.setattr(lock, "ROOT", folder)
    monkeypatch.setattr(lock, "resolve", fails)
    assert lock.main([]) == 1
    assert (folder / "constraints.txt").read_text() == "# old\na==1\nb==1\nc==1\n"
    assert "left as it was" in capsys.readouterr().err
