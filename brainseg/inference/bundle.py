"""A model in a folder of its own, which somebody else can use: weights, facts, and a model card.

model.safetensors  the tensors of each member, named `<member>.<tensor>`, members from 0
model.json         see ``Description``; its sha256 is that of model.safetensors
README.md          the model card
"""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from brainseg.config.hyperparameters import Encoder, Plain, TrialConfig
from brainseg.inference.card import card
from brainseg.inference.description import FIELDS, FORMAT, Description
from brainseg.inference.model import Model
from brainseg.models.network import Network, build_network
from brainseg.models.weight_files import StateDict, read_states, write_safetensors
from brainseg.records.fields import Fields
from brainseg.records.files import Unreadable, read_json, write_json, write_text

WEIGHTS, FACTS, CARD = "model.safetensors", "model.json", "README.md"
FILES = {WEIGHTS, FACTS, CARD}
ANY_FORMAT = Fields(("format",), {"format": int})
EXPORT_AGAIN = "export the model again, or copy the whole folder again"


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, or a part of one."""
    return (folder / FACTS).exists() or (folder / WEIGHTS).exists()


def write_bundle(folder: Path, model: Model) -> None:
    """Write a model into ``folder``, which is made if its parent exists; model.json comes last.

    Raises:
        ValueError: the folder holds other files than a bundle's.
    """
    require_own_folder(folder, FILES, "a bundle")
    folder.mkdir(exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    for torn in [path for path in folder.iterdir() if _is_torn(path.name, FILES)]:
        torn.unlink()
    tensors = {
        f"{number}.{name}": tensor
        for number, network in enumerate(model.networks)
        for name, tensor in network.state_dict().items()
    }
    write_safetensors(folder / WEIGHTS, tensors)
    made = model.description.made or datetime.now(UTC).isoformat(timespec="seconds")
    described = replace(model.description, made=made)
    write_text(folder / CARD, card(described))
    write_json(folder / FACTS, described.to_json(_sha256(folder / WEIGHTS)))


def require_own_folder(folder: Path, ours: set[str], what: str) -> None:
    """Refuse to write ``what`` where other things are than an earlier one of it.

    Raises:
        ValueError: ``folder`` is a file, its parent does not exist, or it holds other files.
    """
    rule = f"{what} must have a folder of its own"
    if not folder.parent.is_dir():
        raise ValueError(f"{rule}, and {folder.parent} does not exist; make that folder first")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{rule}, {folder} is a file; name a new folder")
    present = [path.name for path in folder.iterdir()] if folder.exists() else []
    known = (*ours, *(name for name in present if _is_torn(name, ours)))
    if others := sorted(name for name in present if name not in known):
        raise ValueError(f"{rule}, {folder} holds {', '.join(others[:3])}; name a new folder")


def _is_torn(name: str, ours: set[str]) -> bool:
    """Whether a file is what a process that was killed left of one of ``ours``."""
    return any(name.startswith(f".{whole}.") for whole in ours)


def read_bundle(folder: Path) -> Model:
    """The model in a bundle.

    Raises:
        Unreadable: a file is missing or damaged, is of a newer version, or does not hold what
            model.json says.
    """
    facts = folder / FACTS
    held: dict[str, Any] = read_json(facts, kind=dict, fields=ANY_FORMAT, remedy=EXPORT_AGAIN)
    if not 1 <= held["format"] <= FORMAT:
        fault = f"it is of format {held['format']}, this brainseg reads 1 to {FORMAT}"
        raise Unreadable(facts, fault, "install a newer brainseg")
    if fault := FIELDS.fault(held):
        raise Unreadable(facts, f"it {fault}", EXPORT_AGAIN)
    try:
        description = Description.from_json(held)
    except ValueError as error:
        raise Unreadable(facts, f"it {error}", EXPORT_AGAIN) from None
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise Unreadable(weights, "it is missing", EXPORT_AGAIN)
    if _sha256(weights) != held["sha256"]:
        fault = f"its SHA-256 is not the one in {FACTS}: the file was damaged or replaced"
        raise Unreadable(weights, fault, EXPORT_AGAIN)
    (tensors,) = read_states(weights).values()
    members = _by_member(tensors)
    if members.keys() != {str(number) for number in range(len(description.members))}:
        named = len(description.members)
        fault = f"it holds {len(members)} networks, and {FACTS} names {named}"
        raise Unreadable(weights, fault, EXPORT_AGAIN)
    try:
        networks = [
            filled(description.trial_config, members[str(number)], weights)
            for number in range(len(members))
        ]
    except NoNetwork as error:
        raise Unreadable(facts, f"it {error}", EXPORT_AGAIN) from None
    return Model(description, networks, folder)


class NoNetwork(ValueError):
    """A configuration is not that of any network, such as one with an unknown encoder."""


def filled(
    config: TrialConfig, state: StateDict, source: Path, remedy: str = EXPORT_AGAIN
) -> Network:
    """The network of ``config`` with the tensors of a file; nothing is downloaded.

    Raises:
        Unreadable: they do not fit.
        NoNetwork: the configuration is that of no network.
    """
    network = empty_network(config)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in state.items()}:
        fault = "its tensors are not those of the network that its configuration describes"
        raise Unreadable(source, fault, remedy)
    network.load_state_dict(state)
    return network.eval()


def empty_network(config: TrialConfig) -> Network:
    """The network of ``config`` with random weights; torch's seed stays as it was.

    Raises:
        NoNetwork: there is no such encoder, or it does not take the size or the channels.
    """
    model: Encoder | Plain = config.model
    bare = replace(model, weights="none") if isinstance(model, Encoder) else model
    try:
        with torch.random.fork_rng(devices=[]):
            return build_network(bare, config.channels, config.image_size)
    except Exception as error:  # each family of encoders raises its own kind
        raise NoNetwork(f"describes a network that cannot be built ({error})") from None


def _by_member(tensors: StateDict) -> dict[str, StateDict]:
    """The tensors of each member; its number is what their names start with."""
    members: dict[str, StateDict] = {}
    for name, tensor in tensors.items():
        member, _, rest = name.partition(".")
        members.setdefault(member, {})[rest] = tensor
    return members


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
