"""HD95 and surface Dice are what MONAI and a search over all pairs of corners say they are."""

import warnings

import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import get_mask_edges
from scipy.spatial.distance import cdist

from brainseg.evaluation.distances import surface_scores
from tests.support.mask_pairs import MaskPair, mask_pairs

PAIRS = mask_pairs(200)
BOTH = [pair for pair in PAIRS if pair.true.any() and pair.predicted.any()]
TOLERANCE = 1.1  # no distance of two voxels in any of the spacings


def batched(mask: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(mask[None, None].astype(np.float32))


def smallest_within(distances: np.ndarray, areas: np.ndarray, share: float) -> float:
    """The smallest distance within which at least ``share`` of the area lies."""
    for distance in np.unique(distances):
        if areas[distances <= distance + 1e-9].sum() >= share * areas.sum() * (1 - 1e-12):
            return float(distance)
    raise AssertionError


def hd95_by_hand(pair: MaskPair) -> float:
    """Corners and their areas by MONAI, distances between all pairs of them, percentiles."""
    true, predicted, spacing = pair.in_plane
    edges = get_mask_edges(
        torch.as_tensor(predicted), torch.as_tensor(true), spacing=list(spacing),
        always_return_as_numpy=True,
    )  # fmt: skip
    on_predicted, on_true, area_predicted, area_true = (np.asarray(part) for part in edges)
    distances = cdist(np.argwhere(on_true) * spacing, np.argwhere(on_predicted) * spacing)
    return max(
        smallest_within(distances.min(1), area_true[on_true].astype(np.float64), 0.95),
        smallest_within(distances.min(0), area_predicted[on_predicted].astype(np.float64), 0.95),
    )


def test_the_pairs_hold_what_breaks_metrics() -> None:
    assert len(PAIRS) == 200
    assert sum(len(pair.true) == 1 for pair in BOTH) > 30
    assert sum(pair.spacing != (1, 1, 1) for pair in BOTH) > 80
    assert len(PAIRS) - len(BOTH) == 60


def test_the_surface_dice_is_that_of_monai() -> None:
    for n, pair in enumerate(BOTH):
        true, predicted, spacing = pair.in_plane
        tolerance = (0.0, TOLERANCE, 2.6)[n % 3]
        monai = compute_surface_dice(
            batched(predicted), batched(true), [tolerance], include_background=True,
            spacing=spacing, use_subvoxels=True,
        )  # fmt: skip
        nsd = surface_scores(pair.true, pair.predicted, pair.spacing, tolerance).nsd
        assert nsd == pytest.approx(float(monai), abs=1e-6), pair.name


def test_hd95_is_the_greater_percentile_of_all_distances_weighed_by_area() -> None:
    for pair in BOTH:
        hd95 = surface_scores(pair.true, pair.predicted, pair.spacing, TOLERANCE).hd95
        assert hd95 == pytest.approx(hd95_by_hand(pair), abs=1e-6), pair.name


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # inside the library
def test_both_are_those_of_the_library_from_end_to_end() -> None:
    for pair in BOTH:
        distances = surface_distance.compute_surface_distances(*pair.in_plane)
        scores = surface_scores(pair.true, pair.predicted, pair.spacing, TOLERANCE)
        hd95 = surface_distance.compute_robust_hausdorff(distances, 95)
        nsd = surface_distance.compute_surface_dice_at_tolerance(distances, TOLERANCE)
        assert scores.hd95 == pytest.approx(hd95, abs=1e-9), pair.name
        assert scores.nsd == pytest.approx(nsd, abs=1e-9), pair.name


def test_where_masks_have_no_tumour_the_rule_decides_and_not_a_nan() -> None:
    for pair in PAIRS:
        scores = surface_scores(pair.true, pair.predicted, pair.spacing, TOLERANCE)
        if not pair.true.any() and not pair.predicted.any():
            assert (scores.hd95, scores.nsd) == (0, 1)
        elif pair not in BOTH:
            worst = np.linalg.norm(np.array(pair.true.shape) * pair.spacing)
            assert (scores.hd95, scores.nsd) == (pytest.approx(worst), 0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                monai = compute_surface_dice(batched(pair.predicted), batched(pair.true), [1.0],
                                             include_background=True)  # fmt: skip
            assert scores.nsd == float(monai)


def test_nothing_found_in_a_volume_of_brats_scores_what_brats_gives() -> None:
    true = np.zeros((155, 240, 240), np.uint8)
    true[70:80, 100:110, 100:110] = 1
    scores = surface_scores(true, np.zeros_like(true), (1, 1, 1), 1)
    assert np.ceil(scores.hd95) == 374


def test_no_score_of_masks_with_tumour_is_worse_than_the_worst() -> None:
    for pair in BOTH:
        worst = np.linalg.norm(np.array(pair.true.shape) * pair.spacing)
        scores = surface_scores(pair.true, pair.predicted, pair.spacing, 0)
        assert 0 <= scores.hd95 <= worst
        assert 0 <= scores.nsd <= 1


def test_scores_do_not_change_with_what_is_beside_the_masks_or_their_order() -> None:
    for pair in BOTH:
        scores = surface_scores(pair.true, pair.predicted, pair.spacing, TOLERANCE)
        back = surface_scores(pair.predicted, pair.true, pair.spacing, TOLERANCE)
        sides = ((0, 0) if len(pair.true) == 1 else (2, 1), (3, 0), (1, 4))
        wider = [np.pad(mask, sides) for mask in (pair.true, pair.predicted)]
        padded = surface_scores(wider[0], wider[1], pair.spacing, TOLERANCE)
        assert back.hd95 == pytest.approx(scores.hd95)
        assert back.nsd == pytest.approx(scores.nsd)
        assert padded.hd95 == pytest.approx(scores.hd95)
        assert padded.nsd == pytest.approx(scores.nsd)


def test_a_shift_by_whole_voxels_is_as_far_as_it_is_in_millimetres() -> None:
    true, predicted = np.zeros((2, 9, 20, 20), bool)
    true[3:6, 5:10, 5:10] = True
    predicted[5:8, 5:10, 5:10] = True
    assert surface_scores(true, predicted, (3.0, 0.1, 0.1), 0).hd95 == pytest.approx(6.0)
    assert surface_scores(true, predicted, (0.3, 0.1, 0.1), 0.6).nsd == 1  # equal to it is within


def test_the_hd95_of_outermost_voxels_is_another_one_but_near() -> None:
    """MONAI's; the log has by how much they differ on real tumours."""
    for pair in BOTH:
        if "blobs" in pair.name and pair.spacing == (1, 1, 1):
            true, predicted, spacing = pair.in_plane
            monai = compute_hausdorff_distance(
                batched(predicted), batched(true), include_background=True, percentile=95,
                spacing=spacing,
            )  # fmt: skip
            hd95 = surface_scores(pair.true, pair.predicted, pair.spacing, TOLERANCE).hd95
            assert abs(hd95 - float(monai)) <= 1.5, pair.name


MASK = np.ones((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("true", "predicted", "spacing", "tolerance", "sentence"),
    [
        (MASK, MASK[:1], (1, 1, 1), 1, r"share a shape, got \(2, 3, 3\), \(1, 3, 3\)"),
        (MASK[0], MASK[0], (1, 1, 1), 1, r"slices, rows and columns, got the shape \(3, 3\)"),
        (MASK[:0], MASK[:0], (1, 1, 1), 1, r"got the shape \(0, 3, 3\)"),
        (MASK, MASK, (1, 0, 1), 1, r"three numbers above 0, got \(1, 0, 1\)"),
        (MASK, MASK, (1, 1), 1, r"three numbers above 0, got \(1, 1\)"),
        (MASK, MASK, (1, float("nan"), 1), 1, "three numbers above 0"),
        (MASK, MASK, (1, 1, 1), -0.5, "from 0 on, got -0.5"),
        (MASK, MASK, (1, 1, 1), float("nan"), "from 0 on, got nan"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    true: np.ndarray,
    predicted: np.ndarray,
    spacing: tuple[float, float, float],
    tolerance: float,
    sentence: str,
) -> None:
    with pytest.raises(ValueError, match=sentence):
        surface_scores(true, predicted, spacing, tolerance)
