"""Files of weights: what a file is, told from its bytes, and where its tensors lie.

No code of a file is run. A file that would have to run some is refused, with two lines of Python
that save its tensors alone where it is trusted.
"""

import json
import pickletools
import re
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from brainseg.records.files import replacing

StateDict = dict[str, Tensor]
# Under which key files keep their tensors.
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "network")
BESIDE = re.compile("optim|sched|scaler|callback|loops|rng", re.IGNORECASE)  # keys of no weights
HEAD_BYTES = 512
READ_BYTES = 1 << 20
SIGNS = {  # how a file begins: what it is; what to do
    rb"version https://git-lfs": "it is a pointer of git-lfs in place of the file; run `git lfs "
    "pull` where it was cloned",
    rb"\s*<(!doctype|html|head|body|\?xml)": "it is a web page, not the file that the page offers; "
    "download that one",
    rb"\x89HDF": "it is an HDF5 file, as Keras writes them; take weights of PyTorch",
    rb"\x93NUMPY": "it is an array of NumPy, which has no names; take weights of PyTorch",
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!": "it is a packed archive; unpack it, and name the "
    "file of weights in it",
    rb"[\t\n\r\x20-\x7e]+$": "it is text, no file of weights; download the file itself",
}
AGAIN = "copy or download it again"
PICKLE = b"\x80"
OLDER_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number before a pickle
HARMLESS = re.compile(
    r"torch\.(_utils\.\w+|\w+)|collections\.OrderedDict|_codecs\.encode|(__builtin__|builtins)\.set"
)


def unreadable(path: Path, fault: str) -> ValueError:
    return ValueError(f"{path} cannot be read as a state dict: {fault}")


def two_lines(path: Path, tensors: str, *, load: str = "") -> str:
    """Python that saves ``tensors``, an expression of what the file holds, in a file of its own."""
    load = load or f"torch.load({str(path)!r}, map_location='cpu', weights_only=True)"
    modules = "pickle, torch" if load.startswith("pickle") else "torch"
    target = str(path.with_name(f"{path.stem}.tensors.pth"))
    return (
        "save the tensors alone with two lines of Python, and take their file:\n"
        f"    import {modules}; held = {load}\n    torch.save({tensors}, {target!r})"
    )


def read_states(path: Path) -> dict[str, StateDict]:
    """The state dicts of a file, each by the keys that lead to it ("" where it is the whole).

    Raises:
        ValueError: it is damaged, another kind of file, holds more than tensors, or no tensors.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if not head:
            raise unreadable(path, f"it is empty; {AGAIN}")
        if fault := next((SIGNS[sign] for sign in SIGNS if re.match(sign, head, re.I)), ""):
            raise unreadable(path, fault)
        if _is_safetensors(path, head):
            return {"": _safetensors(path, file)}
        held = _torch(path, file, head)
    states = dict(_state_dicts(held))
    if not states:
        raise unreadable(path, f"it holds no tensors by name, but {_described(held)}")
    return states


def write_safetensors(path: Path, tensors: StateDict) -> None:
    """Write tensors by name, as safetensors has them: no code, and no memory shared by two."""
    copied = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with replacing(path) as file:
        file.write(save(copied))


def _state_dicts(held: object, place: str = "") -> list[tuple[str, StateDict]]:
    """Dicts of tensors, with the keys that lead to them; of nested ones the innermost."""
    if not isinstance(held, dict):
        return []
    inner = [
        found
        for key, value in held.items()
        if isinstance(key, str) and not BESIDE.search(key)
        for found in _state_dicts(value, f"{place}[{key!r}]")
    ]
    tensors = {k: v for k, v in held.items() if isinstance(k, str) and isinstance(v, Tensor)}
    return inner or ([(place, tensors)] if tensors else [])


def _described(held: object) -> str:
    if isinstance(held, dict) and held:
        items = [f"{key!r} ({type(value).__name__})" for key, value in list(held.items())[:5]]
        return f"{', '.join(items)}{', ...' if len(held) > 5 else ''}; take the file of the weights"
    return f"a {type(held).__name__}; take the file of the weights"


def _is_safetensors(path: Path, head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")  # of a header in JSON
    if head[8:9] == b"{" and length <= path.stat().st_size:
        return True
    return path.suffix == ".safetensors" and not head.startswith((b"PK", b"\x80\x02"))


def _safetensors(path: Path, file: BinaryIO) -> StateDict:
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size - 8:
        whole = f"its header should take {length} bytes, and {max(0, size - 8)} follow"
        raise unreadable(path, f"it is cut short, or no safetensors file ({whole}); {AGAIN}")
    try:
        header = json.loads(file.read(length))
        ends = [e["data_offsets"][1] for k, e in header.items() if k != "__metadata__"]
        if (expected := 8 + length + max(ends, default=0)) != size:
            raise unreadable(path, f"it should have {expected} bytes, it has {size}; {AGAIN}")
        return load_file(path)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, LookupError, TypeError):
        fault = "its header is damaged, or it is no safetensors file"
        raise unreadable(path, f"{fault}; {AGAIN}") from None
    except SafetensorError as error:
        raise unreadable(path, f"it is damaged ({error}); {AGAIN}") from None


def _torch(path: Path, file: BinaryIO, head: bytes) -> Any:
    """What a file of ``torch.save`` holds."""
    pickled = file
    if head.startswith(b"PK"):
        pickled = BytesIO(_pickle_of_zip(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sparse and quantised tensors, refused later
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # damaged files make the reader raise nearly anything
        pickled.seek(0)
        names = _names_in(pickled, skip=3 if head.startswith(OLDER_TORCH) else 0)
    if names.classes:
        raise _runs_code(path, names, head) from None
    kind = "it is damaged" if head.startswith((b"PK", PICKLE)) else "it is no file of PyTorch's"
    raise unreadable(path, f"{kind}; {AGAIN}") from None


def _pickle_of_zip(path: Path) -> bytes:
    """The pickle in a zip archive whose records are as they were saved.

    PyTorch compares no checksums: a flipped bit would be another weight.
    """
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            pickles = [name for name in names if name.endswith("data.pkl")]
            if any(name.endswith("constants.pkl") for name in names):
                load = f"torch.jit.load({str(path)!r}, map_location='cpu')"
                fault = (
                    "it is a program of TorchScript, and to load one can run code; on a machine "
                    f"where you trust it, {two_lines(path, 'held.state_dict()', load=load)}"
                )
                raise unreadable(path, fault)
            if not pickles:
                files = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                fault = f"it is a zip archive without weights of PyTorch ({files}); unpack it"
                raise unreadable(path, f"{fault}, and name the file of weights in it")
            for record in archive.infolist():
                if not record.CRC:  # PyTorch can be told to save none
                    del record.CRC  # 0 would be compared
                with archive.open(record) as file:
                    while file.read(READ_BYTES):
                        pass
            return archive.read(pickles[0])
    except (BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error) as error:
        cut = "not a zip file" in str(error) or not str(error)
        fault = "it is cut short" if cut else f"it is damaged ({error})"
        raise unreadable(path, f"{fault}; {AGAIN}") from None


class _Names(NamedTuple):
    """What a pickle says without being run."""

    classes: list[str]  # and functions, which it would call
    strings: list[str]
    is_dict: bool  # what it holds, and no object of another class


def _names_in(file: BinaryIO, skip: int) -> _Names:
    """The names in a file of pickles, of which ``skip`` stand before the one that matters."""
    classes: list[str] = []
    strings: list[str] = []
    is_dict = False
    try:
        while _is_pickle_ahead(file):  # older files of PyTorch are several pickles
            first = True
            for code, value, _ in pickletools.genops(file):
                if first and code.name not in ("PROTO", "FRAME"):
                    first, skip = False, skip - 1
                    if skip == -1:
                        strings.clear()
                        is_dict = code.name == "EMPTY_DICT" or value == "collections OrderedDict"
                if code.name == "GLOBAL":
                    classes.append(str(value).replace(" ", ".", 1))
                elif code.name == "STACK_GLOBAL":
                    classes.append(".".join(strings[-2:]))
                elif isinstance(value, str):
                    strings.append(value)
    except Exception:  # damaged, or past the last of its pickles
        pass
    classes = [name for name in dict.fromkeys(classes) if not HARMLESS.fullmatch(name)]
    return _Names(classes, strings, is_dict)


def _tensors_held(names: _Names, container: str) -> str:
    """The Python that takes the tensors of ``held``, what a pickle holds."""
    if not names.is_dict:
        return "held.state_dict()"
    if container:
        holds_module = "state" not in container and any(
            name.startswith("torch.nn.modules") for name in names.classes
        )
        return f"held[{container!r}]" + ".state_dict()" * holds_module
    if names.strings and names.strings[0].endswith((".weight", ".bias")):
        return "{k: v for k, v in held.items() if isinstance(v, torch.Tensor)}"
    return "max((v for v in held.values() if isinstance(v, dict)), key=len)"


def _is_pickle_ahead(file: BinaryIO) -> bool:
    place = file.tell()
    first = file.read(1)
    file.seek(place)
    return first == PICKLE


def _runs_code(path: Path, names: _Names, head: bytes) -> ValueError:
    classes = names.classes
    shown = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    container = next((name for name in CONTAINERS if name in names.strings), "")
    tensors = _tensors_held(names, container)
    load = f"torch.load({str(path)!r}, map_location='cpu', weights_only=False)"
    is_of_torch = head.startswith((b"PK", OLDER_TORCH))
    if not is_of_torch:
        load = f"pickle.load(open({str(path)!r}, 'rb'))"
    if not is_of_torch or all(name.startswith("numpy") for name in classes):
        arrays = f"held[{container!r}]" if container else "held"
        tensors = f"{{k: torch.as_tensor(v) for k, v in {arrays}.items()}}"
    return unreadable(
        path,
        f"besides tensors it holds {shown}, and to read such a pickle can run any code; on a "
        f"machine where you trust the file, {two_lines(path, tensors, load=load)}",
    )
