"""Made-up patients in the LGG layout: a small network learns them, a threshold does not.

Shapes: S slices, H rows, W columns, C channels (pre-contrast, FLAIR, post-contrast). Lengths are in
half-widths of the image: x (right), y (back) and z (up) run from -1 to 1. A depth is positive
inside a structure, zero on its surface, negative outside.
"""

import json
from dataclasses import asdict, dataclass
from functools import reduce
from math import ceil, cos, pi, sin
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]
Triple = tuple[float, float, float]

# Grey values in (pre-contrast, FLAIR, post-contrast), near the medians of real LGG slices.
FAT: Triple = (165, 128, 150)
MUSCLE: Triple = (62, 48, 74)
BONE: Triple = (12, 9, 12)
FLUID: Triple = (20, 13, 22)
GREY: Triple = (50, 72, 58)
WHITE: Triple = (76, 56, 76)
GLIOSIS: Triple = (66, 126, 68)  # harmless, yet as bright in FLAIR as tumour: defeats a threshold
TUMOUR: Triple = (42, 116, 48)
NECROSIS: Triple = (30, 84, 36)
ENHANCING: Triple = (48, 116, 150)

STAMP = "phantoms.json"
DRAWING = 1  # raise when the same seed draws something else: folders of the old drawing are refused


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a folder of phantoms, to the byte on one kind of CPU."""

    patients: int
    slices: int
    size: int
    seed: int
    drawing: int = DRAWING

    def __post_init__(self) -> None:
        for name, least in (("patients", 1), ("slices", 3), ("size", 32), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}; try {least}")


@dataclass(frozen=True)
class Canvas:
    """A head being drawn: where each voxel lies in its own frame (S,H,W), the image (S,H,W,C)."""

    rng: np.random.Generator
    x: Volume
    y: Volume
    z: Volume
    image: Volume

    def noise(self, reach: float) -> Volume:
        return smooth_noise(self.rng, self.x.shape, reach)

    def ellipsoid(self, centre: Triple, radii: Triple, angle: float = 0.0) -> Volume:
        """Depth in an ellipsoid that is turned by `angle` radians around the z axis."""
        x, y, z = self.x - centre[0], self.y - centre[1], self.z - centre[2]
        along = (cos(angle) * x + sin(angle) * y) / radii[0]
        across = (cos(angle) * y - sin(angle) * x) / radii[1]
        distance = np.sqrt(along**2 + across**2 + (z / radii[2]) ** 2)
        return (1 - distance) * min(radii[:2])

    def paint(self, depth_SHW: Volume, tissue: Triple, edge: float = 0.0) -> None:
        """Fill a structure; voxels within `edge` (at least a pixel) of its surface only in part."""
        edge = max(edge, 2 / depth_SHW.shape[2])
        touched = depth_SHW > -edge
        share = np.minimum(0.5 + depth_SHW[touched] / (2 * edge), 1)[:, None]
        below = self.image[touched]
        self.image[touched] = below + share * (np.array(tissue, np.float32) - below)

    def place(self, where_SHW: npt.NDArray[np.bool_]) -> Triple:
        """A point drawn evenly from the voxels that are true."""
        s, h, w = self.rng.choice(np.argwhere(where_SHW))
        return float(self.x[s, h, w]), float(self.y[s, h, w]), float(self.z[s, h, w])


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], reach: float) -> Volume:
    """Gaussian noise of unit variance, blurred by `reach` in plane and by 3x that in z.

    Drawn on a grid of step `reach` and enlarged, so that long reaches need no large kernels.
    """
    slices, rows, columns = shape
    knots, levels = ceil(2 / reach) + 2, ceil(2 / (3 * reach)) + 2
    rough = rng.standard_normal((levels, knots * knots), dtype=np.float32)
    tall = cv2.resize(cv2.GaussianBlur(rough, (1, 7), 1), (knots * knots, slices))
    planes = (cv2.GaussianBlur(plane, (7, 7), 1) for plane in tall.reshape(-1, knots, knots))
    wide = [cv2.resize(p, (columns, rows), interpolation=cv2.INTER_CUBIC) for p in planes]
    noise = np.asarray(wide, np.float32)
    standard: Volume = (noise - noise.mean()) / noise.std()
    return standard


def overlap(*depths: Volume) -> Volume:
    """Depth in what all structures share."""
    shared: Volume = reduce(np.minimum, depths)
    return shared


def lay_canvas(rng: np.random.Generator, slices: int, size: int) -> Canvas:
    """An empty canvas around a head of its own pose, proportions and slight asymmetry."""
    steps, heights = (np.arange(n, dtype=np.float32) * 2 / n + 1 / n - 1 for n in (size, slices))
    z, y, x = np.meshgrid(heights, steps, steps, indexing="ij")
    angle, scale, slender = rng.normal(0, 0.07), rng.uniform(0.93, 1.06), rng.uniform(0.95, 1.05)
    x, y = x - rng.normal(0, 0.03), y - rng.normal(0, 0.03)
    across = (cos(angle) * x - sin(angle) * y) / (scale * slender)
    along = (sin(angle) * x + cos(angle) * y) / scale
    wobble_x, wobble_y = (0.02 * smooth_noise(rng, x.shape, 0.3) for _ in range(2))
    return Canvas(rng, across + wobble_x, along + wobble_y, z, np.zeros((*x.shape, 3), np.float32))


def draw_skull(canvas: Canvas) -> Volume:
    """Scalp, skull, and a face below the tilted skull base; returns the depth in the brain."""
    head = canvas.ellipsoid((0, 0, -0.15), (0.7, 0.87, 1.5))
    base = canvas.z + 0.5 + 0.4 * canvas.y + 0.05 * canvas.noise(0.12)
    scalp = canvas.rng.uniform(0.035, 0.055)
    canvas.paint(head, FAT)
    canvas.paint(head - scalp - 0.01 * canvas.noise(0.1), BONE)
    face = overlap(head - scalp, -base - 0.06)
    canvas.paint(face, MUSCLE)
    for tissue, reach in ((FAT, 0.05), (BONE, 0.07), (FAT, 0.03)):
        blotches = canvas.noise(reach)
        mirrored = blotches + blotches[..., ::-1]
        canvas.paint(overlap(face, 0.03 * mirrored - 0.03), tissue)
    canvas.paint(canvas.ellipsoid((0, -0.55, -0.8), (0.08, 0.22, 0.4)), BONE)  # nose
    for side in (-1, 1):
        canvas.paint(canvas.ellipsoid((0.27 * side, -0.6, -0.4), (0.12, 0.14, 0.22)), FLUID)  # eye
    return overlap(head - canvas.rng.uniform(0.08, 0.1), base)


def draw_brain(canvas: Canvas, brain: Volume) -> None:
    """White matter under a folded grey ribbon, with sulci, deep nuclei and the midline fissure."""
    fold = np.abs(canvas.noise(0.035))  # its zeros are curved lines, like sulci
    near_surface = np.exp(-np.maximum(brain, 0) / 0.15)
    canvas.paint(brain, FLUID)
    canvas.paint(brain - 0.012, WHITE)
    ribbon = 0.1 * (1.5 * near_surface - 0.25 - fold)
    canvas.paint(overlap(brain - 0.012, ribbon), GREY, 0.02)
    for side in (-1, 1):
        nucleus = canvas.ellipsoid((0.21 * side, 0.04, 0.0), (0.09, 0.2, 0.25), -0.35 * side)
        canvas.paint(nucleus + 0.01 * canvas.noise(0.06), GREY, 0.03)
    sulci = 0.05 * (0.6 * near_surface - 0.25 - fold)
    canvas.paint(overlap(brain, sulci), FLUID, 0.02)
    fissure = 0.008 - np.abs(canvas.x + 0.01 * canvas.noise(0.1))
    bridge = canvas.ellipsoid((0, 0, 0), (0.4, 0.34, 0.45))
    canvas.paint(overlap(fissure, -bridge, brain), FLUID)


def draw_ventricles(canvas: Canvas) -> Volume:
    """Two lateral ventricles and the third; returns the depth in them."""
    radii = (canvas.rng.uniform(0.045, 0.085), 0.32, 0.3)
    left, right = (canvas.ellipsoid((0.11 * s, 0.02, 0.2), radii, -0.2 * s) for s in (-1, 1))
    third = canvas.ellipsoid((0, 0.02, 0), (0.02, 0.12, 0.25))
    fluid: Volume = np.maximum(np.maximum(left, right) + 0.012 * canvas.noise(0.08), third)
    canvas.paint(fluid, FLUID)
    return fluid


def draw_distractors(canvas: Canvas, brain: Volume, fluid: Volume) -> None:
    """Gliosis: caps around the ventricles, and small spots and streaks anywhere in the brain."""
    rng = canvas.rng
    caps = overlap(0.016 - np.abs(fluid + 0.016), 0.04 * (canvas.noise(0.1) - 0.7))
    canvas.paint(overlap(caps, brain), GLIOSIS)
    for _ in range(rng.integers(5, 12)):
        radius, stretch = rng.uniform(0.025, 0.055), rng.uniform(1, 3)
        centre, angle = canvas.place(brain > 0.06), rng.uniform(0, pi)
        spot = canvas.ellipsoid(centre, (radius, radius * stretch, 0.15), angle)
        canvas.paint(overlap(spot, brain), GLIOSIS)


def draw_tumour(canvas: Canvas, brain: Volume) -> Volume:
    """One irregular blob inside the brain, a third of the slices high; returns its depth."""
    rng, radius = canvas.rng, canvas.rng.uniform(0.18, 0.38)
    level = (np.abs(canvas.z - 0.1) < 0.4) & (np.abs(canvas.x) > 0.15)
    centre = canvas.place(level & (brain > min(0.7 * radius, 0.8 * brain[level].max())))
    radii = (radius, radius * rng.uniform(0.7, 1.3), rng.uniform(0.24, 0.38))
    # Clipped at half the radius, so that the centre is tumour whatever the noise.
    border = np.clip(0.15 * canvas.noise(0.09) + 0.07 * canvas.noise(0.03), -0.5, 0.5)
    blob = canvas.ellipsoid(centre, radii, rng.uniform(0, pi)) + radius * border
    tumour = overlap(blob, brain - 0.01)
    canvas.paint(tumour, TUMOUR, 0.025)
    core = overlap(tumour - 0.3 * radius, 0.03 * (canvas.noise(0.08) - 0.8))
    canvas.paint(core, NECROSIS, 0.05)
    gaps = 0.1 * (canvas.noise(0.12) - rng.uniform(-1, 1.5))  # from a closed ring to hardly any
    canvas.paint(overlap(0.02 - np.abs(tumour - 0.4 * radius), gaps), ENHANCING)
    return tumour


def scan(canvas: Canvas) -> Pixels:
    """What one scanner makes of the head: texture, coil shading, gain, contrast, blur, noise."""
    rng, (slices, size, _, channels) = canvas.rng, canvas.image.shape
    gain = rng.lognormal(0, 0.1, size=(channels,)).astype(np.float32)
    contrast = rng.uniform(0.9, 1.1, size=(channels,)).astype(np.float32)
    shading = np.exp(0.12 * canvas.noise(0.5) + 0.05 * canvas.noise(0.02))
    clean = 100 * (canvas.image / 100) ** contrast * gain * shading[..., None]
    blurred = np.stack([cv2.GaussianBlur(plane, (0, 0), 0.0045 * size) for plane in clean])
    noise = rng.standard_normal((2, slices, size, size, channels), np.float32) * rng.uniform(1.5, 4)
    rician: Volume = np.hypot(blurred + noise[0], noise[1])
    return np.clip(rician, 0, 255).astype(np.uint8)


def draw_patient(rng: np.random.Generator, slices: int, size: int) -> tuple[Pixels, Pixels]:
    """Images S,H,W,C and masks S,H,W of 0 or 255, from the face upwards."""
    canvas = lay_canvas(rng, slices, size)
    brain = draw_skull(canvas)
    draw_brain(canvas, brain)
    draw_distractors(canvas, brain, draw_ventricles(canvas))
    tumour = draw_tumour(canvas, brain)
    return scan(canvas), np.where(tumour > 0, 255, 0).astype(np.uint8)


def write_tiff(path: Path, pixels: Pixels) -> None:
    if not cv2.imwrite(str(path), pixels, (cv2.IMWRITE_TIFF_COMPRESSION, 1)):
        raise OSError(f"could not write {path}; is the disk full?")


def write_patient(root: Path, recipe: Recipe, number: int) -> None:
    """One folder of slices, the same however many patients there are."""
    rng = np.random.default_rng((recipe.seed, number))
    jitter = recipe.slices // 8
    slices = recipe.slices + int(rng.integers(-jitter, jitter + 1))
    folder = root / f"PHANTOM_{number:04d}"
    folder.mkdir()
    images_SHWC, masks_SHW = draw_patient(rng, slices, recipe.size)
    for n, (image_HWC, mask_HW) in enumerate(zip(images_SHWC, masks_SHW, strict=True), start=1):
        write_tiff(folder / f"{folder.name}_{n}.tif", image_HWC[..., ::-1])  # cv2 takes BGR
        write_tiff(folder / f"{folder.name}_{n}_mask.tif", mask_HW)


def occupied(root: Path) -> bool:
    return root.is_file() or (root.is_dir() and any(root.iterdir()))


def receipt(root: Path, recipe: Recipe) -> str:
    """What the stamp must say if the folder holds this recipe's files, all of them."""
    return json.dumps({**asdict(recipe), "files": len(list(root.glob("PHANTOM_*/*.tif")))})


def refuse_unless_same(root: Path, recipe: Recipe) -> None:
    stamp, wanted = root / STAMP, receipt(root, recipe)
    actual = stamp.read_text(errors="replace") if stamp.is_file() else f"no {STAMP}"
    if actual != wanted:
        raise ValueError(
            "a folder for phantoms must be missing, empty, or hold exactly these phantoms, "
            f"{root} has {actual} instead of {wanted}; choose another folder, or delete this one"
        )


def write_phantoms(
    root: Path, *, patients: int, slices: int = 16, size: int = 128, seed: int = 0
) -> Path:
    """Fill `root` with patients of about `slices` slices, `size` pixels wide, and return it.

    The folder appears whole or not at all; the same call again changes nothing. Raises ValueError
    if an argument is too small or `root` holds anything else.
    """
    recipe = Recipe(patients, slices, size, seed)
    if occupied(root):
        refuse_unless_same(root, recipe)
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
        draft = Path(scratch) / root.name
        draft.mkdir()
        for number in range(1, patients + 1):
            write_patient(draft, recipe, number)
        (draft / STAMP).write_text(receipt(draft, recipe))
        try:
            draft.rename(root)
        except OSError:
            if not occupied(root):
                raise
            refuse_unless_same(root, recipe)  # another process was quicker
    return root
