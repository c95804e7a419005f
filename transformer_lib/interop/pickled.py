"""What `torch.save` writes: the weights of models from before safetensors (`pytorch_model.bin`).

Such a file is a program for a small machine, and bytes. It goes through `torch.load(weights_only=True)`, whose machine
knows no functions but some of torch's own; and as some of those set aside as much memory as they are told to, the
program is read before it is run. It may name nothing but what rebuilds tensors, and no number larger than the file; an
archive may not be packed; and afterwards each tensor has to lie within bytes that the file has.
Left out: files of 2016 and 2017, which are tape archives, TorchScript, and tensors that are not dense.
"""

import io
import pickletools
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked

Named = dict[str, Tensor]
MOST_PROGRAM = 16 << 20  # bytes: room for 100,000 tensors in one file
MOST_SHARING = 4  # a weight that is tied is stored once, under so many names at most
MAGIC = 0x1950A86A20F9469CFC6C  # with which torch began its files before they were archives
KINDS = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ALLOWED = {
    *("collections OrderedDict", "torch Size", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
    *(f"torch {kind}Storage" for kind in KINDS),
}
LEAST_NUMBER = 1 << 16  # below which a number asks for nothing, such as the version of the format
OTHER_NAMES = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")  # further ways to name something


@checked
def load_pickled(path: Path) -> Named:
    """The tensors of a file of `torch.save`; `ValueError` if it is none, or asks for more than it holds."""
    require(path.is_file(), str(path), "must be a regular file", "something else")
    size = path.stat().st_size
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\3\4"  # which is how torch tells one
    try:
        programs = [_of_archive(path, size)] if archive else _of_stream(path)
        _check_programs(programs, size)
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except OSError:
        raise
    except Exception as error:  # torch, zipfile and pickletools raise whatever a broken file makes them run into
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{path} must be a file of torch.save's that holds weights alone: {reason}") from error
    _check_tensors(stored, path, size)
    return {name: tensor.detach() for name, tensor in stored.items()}


def _of_archive(path: Path, size: int) -> bytes:
    """The program in an archive none of whose parts is packed, or lies upon another."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        plain = all(part.compress_type == zipfile.ZIP_STORED and part.compress_size == part.file_size for part in parts)
        require(plain, "archive", "must not be packed", "a packed part")
        whole = sum(part.file_size for part in parts)
        require(whole <= size, "archive", f"must hold at most the {size} bytes of its file", whole)
        names = [part.filename for part in parts]
        require(len(set(names)) == len(names), "archive", "must have one part of each name", "two")
        programs = [part for part in parts if part.filename.endswith("data.pkl")]
        require(len(programs) == 1, "archive", "must have one program, data.pkl", len(programs))
        length = programs[0].file_size
        require(length <= MOST_PROGRAM, "program", f"must have at most {MOST_PROGRAM} bytes", length)
        return archive.read(programs[0])


def _of_stream(path: Path) -> list[bytes]:
    """The five programs that stood one after the other before files were archives; the fourth makes the tensors."""
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(MOST_PROGRAM))
    programs = []
    for _ in range(5):
        start = stream.tell()
        for _step in pickletools.genops(stream):
            pass
        programs.append(stream.getvalue()[start : stream.tell()])
    begins = any(argument == MAGIC for _, argument, _ in pickletools.genops(programs[0]))
    require(begins, "file", "must begin as torch.save begins it", programs[0])
    return programs


def _check_programs(programs: list[bytes], size: int) -> None:
    """Nothing is called but what rebuilds tensors, and no number is larger than the file."""
    for program in programs:
        for opcode, argument, _ in pickletools.genops(program):
            named = argument if opcode.name == "GLOBAL" else opcode.name if opcode.name in OTHER_NAMES else None
            require(named is None or named in ALLOWED, "weights", "must be made of tensors alone", named)
            large = type(argument) is int and abs(argument) > max(size, LEAST_NUMBER) and argument != MAGIC
            require(not large, "weights", f"must be those of the {size} bytes of their file", argument)


def _check_tensors(stored: object, path: Path, size: int) -> None:
    """Each tensor lies within bytes of its own, or of those that it is tied to."""
    require(isinstance(stored, dict), str(path), "must hold a dict of tensors", type(stored).__name__)
    assert isinstance(stored, dict)
    whole = 0
    for name, tensor in stored.items():
        require(isinstance(name, str), str(path), "must name each tensor by a text", name)
        dense = isinstance(tensor, Tensor) and tensor.layout is torch.strided and tensor.device.type == "cpu"
        require(dense, f"{path}: {name}", "must be a dense tensor", type(tensor).__name__)
        own = tensor.numel() * tensor.element_size()
        held = tensor.untyped_storage().nbytes()
        require(own <= held, f"{path}: {name}", f"must have the {held} bytes that are stored for it", own)
        whole += own
    most = MOST_SHARING * size
    require(whole <= most, str(path), f"must hold tensors of at most {most} bytes together", whole)
