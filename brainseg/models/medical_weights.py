"""Published medical weights: their source, their terms, and whether they are in the cache.

A file gets into the cache only by `brainseg weights fetch`, whole and checked; its SHA-256 lies
beside it and is compared at each use.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import hf_hub_download, is_offline_mode

from brainseg.config.schema import did_you_mean
from brainseg.models.downloads import sha256 as sha256_of
from brainseg.records.cache import default_cache
from brainseg.records.files import write_text

PREFIX = "medical:"  # of such weights' names in a config


@dataclass(frozen=True, kw_only=True)
class Medical:
    """Weights of one encoder, trained on medical images."""

    name: str
    encoder: str  # that they fit
    images: str  # that they were trained on
    page: str  # where they are published
    licence: str
    terms: str  # that a user accepts, in words
    cite: str
    file: str
    archive: str = ""  # that holds the file, if it is published in one
    repository: str = ""  # on the Hugging Face hub; if none, the file is downloaded by hand
    revision: str = "main"
    sha256: str = ""  # empty: not known; the first fetch records what it got
    renames: tuple[tuple[str, str], ...] = ()  # how published names start, and the encoder's
    spare: tuple[str, ...] = ()  # how names start of parts that no encoder has

    @property
    def path(self) -> Path:
        return default_cache() / "weights" / self.name / self.file

    @property
    def fetch_command(self) -> str:
        return f"brainseg weights fetch {self.name}"


RADIMAGENET = Medical(
    name="radimagenet-resnet50",
    encoder="resnet50",
    images="1.35 million CT, MRI and ultrasound images of 11 regions, brain among them",
    page="https://github.com/BMEII-AI/RadImageNet",
    licence="MIT",
    terms="The repository that publishes them is under MIT and does not mention the weights "
    "separately. The hub's repository is a copy by others.",
    cite="Mei et al. (2022), Radiology: Artificial Intelligence 4(5), e210315",
    file="ResNet50.pt",
    archive="RadImageNet_pytorch.zip",
    repository="Lab-Rasool/RadImageNet",
    # Of the file in the authors' archive, as several public projects state it.
    sha256="08629f7e7bd3e29b8ee9522ca3f65ce4d010a7ddf74f0ea3c7e3f3d0bbab0734",
    # The children of torchvision's resnet50, numbered.
    renames=(
        ("backbone.0.", "conv1."),
        ("backbone.1.", "bn1."),
        *((f"backbone.{layer + 3}.", f"layer{layer}.") for layer in (1, 2, 3, 4)),
    ),
)
RADIOLOGYNET = Medical(
    name="radiologynet-resnet50",
    encoder="resnet50",
    images="1.9 million radiographs, CT and MR images of one hospital, labelled by clustering",
    page="https://github.com/AIlab-RITEH/RadiologyNET-TL-models",
    licence="not stated",
    terms="Published for research in transfer learning; the repository states no licence, so ask "
    "its authors for any other use.",
    cite="Napravnik et al. (2025), Scientific Reports 15, 21622",
    file="ResNet50.pth",
    archive="ResNet50.tar.gz",
    renames=(("model.", ""),),
)
ALL = (
    RADIMAGENET,
    replace(
        RADIMAGENET,
        name="radimagenet-densenet121",
        encoder="densenet121",
        file="DenseNet121.pt",
        sha256="",
        renames=(("backbone.0.", "features."),),
    ),
    RADIOLOGYNET,
    replace(
        RADIOLOGYNET,
        name="radiologynet-resnet18",
        encoder="resnet18",
        file="ResNet18.pth",
        archive="ResNet18.tar.gz",
    ),
    Medical(
        name="lvm-med-resnet50",
        encoder="resnet50",
        images="1.3 million images of 55 public data sets, without labels",
        page="https://github.com/duyhominhnguyen/LVM-Med",
        licence="CC BY-NC-ND 2.0",
        terms="Academic research only. They were trained on images of BraTS 2018, which shares "
        "patients with TCGA-LGG: scores on that data set are not of unseen patients.",
        cite="Nguyen et al. (2023), arXiv:2306.11925",
        file="lvmmed_resnet.torch",
    ),
    Medical(
        name="biovil-resnet50",
        encoder="resnet50",
        images="chest radiographs of MIMIC-CXR with their reports",
        page="https://huggingface.co/microsoft/BiomedVLP-CXR-BERT-specialized",
        licence="MIT",
        terms="For research, not for use in clinics.",
        cite="Boecking et al. (2022), ECCV, arXiv:2204.09817",
        file="biovil_image_resnet50_proj_size_128.pt",
        repository="microsoft/BiomedVLP-CXR-BERT-specialized",
        revision="v1.1",
        renames=(("encoder.encoder.", ""),),
        spare=("projector.",),
    ),
)


def named(name: str) -> Medical:
    """The entry of that name, with or without the prefix `medical:`.

    Raises:
        ValueError: there is none; similar names are suggested.
    """
    known = {model.name: model for model in ALL}
    bare = name.removeprefix(PREFIX)
    if bare not in known:
        raise ValueError(
            f"there are no medical weights {bare!r}{did_you_mean(bare, known)}; "
            "`brainseg weights list` shows all"
        )
    return known[bare]


def cached(model: Medical) -> Path:
    """The file of the weights in this machine's cache, after its checksum is compared.

    Raises:
        ValueError: it is missing, or is not what was fetched; names the command that fetches it.
    """
    expected = model.sha256 or _recorded(model.path)
    if not (model.path.is_file() and expected):
        raise ValueError(
            f"the weights {PREFIX}{model.name} are not in this machine's cache ({model.path}); "
            f"run `{model.fetch_command}` on it"
        )
    if (actual := sha256_of(model.path)) != expected:
        raise ValueError(
            f"{model.path} must have the SHA-256 {expected} of the fetched file, it has {actual}; "
            f"delete it and run `{model.fetch_command}` again"
        )
    return model.path


def fetch(model: Medical, require_fit: Callable[[Path], None], *, sha256: str = "") -> Path:
    """Download the weights into the cache; a download that fails leaves nothing.

    Args:
        require_fit: raises ValueError for a file whose tensors do not fit the encoder.
        sha256: what the file must have; default: what this registry records.

    Raises:
        ValueError: no hub has them, none is reached, or the file is not the expected one.
    """
    if not model.repository:
        raise ValueError(
            f"{PREFIX}{model.name} can only be downloaded by hand: get {_where(model)} and run "
            f"`{model.fetch_command} --from FILE`"
        )
    if is_offline_mode():
        raise ValueError(
            f"{PREFIX}{model.name} must be downloaded and HF_HUB_OFFLINE forbids it; unset it, or "
            f"bring {model.file} here and run `{model.fetch_command} --from FILE`"
        )
    with _staging(model) as folder:
        try:
            got = hf_hub_download(
                model.repository, model.file, revision=model.revision, local_dir=folder
            )
        except Exception as error:  # the hub's library and its dependencies raise nearly anything
            if getattr(error, "errno", None):
                raise  # this machine's disk
            raise ValueError(
                f"{PREFIX}{model.name} cannot be downloaded from the hub's {model.repository} "
                f"({type(error).__name__}); try again where there is a network, or get "
                f"{_where(model)} and run `{model.fetch_command} --from FILE`"
            ) from error
        return _keep(model, Path(got), require_fit, sha256)


def adopt(
    model: Medical, file: Path, require_fit: Callable[[Path], None], *, sha256: str = ""
) -> Path:
    """Copy a file that the user downloaded into the cache, checked as a download is.

    Raises:
        ValueError: there is no such file, or it is not the expected one.
    """
    if not file.is_file():
        raise ValueError(f"--from must name the downloaded {model.file}, there is no file {file}")
    with _staging(model) as folder:
        copy = folder / model.file
        shutil.copyfile(file, copy)
        return _keep(model, copy, require_fit, sha256)


def _keep(model: Medical, staged: Path, require_fit: Callable[[Path], None], sha256: str) -> Path:
    """Move a whole file into its place, its checksum first."""
    actual = sha256_of(staged)
    for expected in filter(None, (model.sha256, sha256.lower())):
        if actual != expected:
            raise ValueError(
                f"{model.file} of {PREFIX}{model.name} must have the SHA-256 {expected}, this one "
                f"has {actual} and was not kept; get {_where(model)} and run "
                f"`{model.fetch_command} --from FILE`"
            )
    require_fit(staged)
    write_text(_record(model.path), f"{actual}  {model.file}\n")
    staged.replace(model.path)
    return model.path


@contextmanager
def _staging(model: Medical) -> Iterator[Path]:
    """A temporary folder on the cache's disk."""
    home = model.path.parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix="fetching-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ValueError(
            f"the cache must be a writable folder with room for {model.file}, {home} is not "
            f"({error.strerror}); set BRAINSEG_CACHE to another"
        ) from error


def _where(model: Medical) -> str:
    return f"{model.file}{f' in {model.archive}' * bool(model.archive)} from {model.page}"


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _recorded(path: Path) -> str:
    """The SHA-256 of a file as it was fetched; empty if it never was."""
    record = _record(path)
    text = record.read_text(encoding="utf-8", errors="replace") if record.exists() else ""
    return text.split(" ")[0]
