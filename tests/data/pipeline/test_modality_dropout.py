"""Modality dropout hides channels as often as asked, and the same ones on every worker."""

import numpy as np
import pytest
import torch

from brainseg.data.pipeline.modality_dropout import shown_channels
from brainseg.training.loop import with_channels_shown


@pytest.mark.parametrize("flair", [0, 1, 2])
def test_channels_show_flair_as_often_as_asked_and_flair_shows_itself(flair: int) -> None:
    shown = shown_channels(4000, 3, flair=flair, missing=0.25, seed=1, epoch=2)
    assert (shown[:, flair] == flair).all()
    for channel in {0, 1, 2} - {flair}:
        assert set(np.unique(shown[:, channel])) == {channel, flair}
        assert (shown[:, channel] == flair).mean() == pytest.approx(0.25, abs=0.03)


def test_epochs_differ_and_the_same_epoch_does_not() -> None:
    first, second = (
        shown_channels(100, 3, flair=1, missing=0.5, seed=0, epoch=epoch) for epoch in (1, 2)
    )
    assert (first != second).any()
    assert (first == shown_channels(100, 3, flair=1, missing=0.5, seed=0, epoch=1)).all()


def test_probability_0_a_single_channel_or_no_known_flair_changes_nothing() -> None:
    for flair, missing in ((1, 0.0), (None, 1.0)):
        shown = shown_channels(5, 3, flair=flair, missing=missing, seed=0, epoch=0)
        assert (shown == np.arange(3)).all()
    assert (shown_channels(5, 1, flair=0, missing=1.0, seed=0, epoch=0) == 0).all()


def test_image_and_scaling_are_replaced_together() -> None:
    image = torch.arange(3).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    scaling = torch.arange(9.0).view(1, 3, 3)
    shown, scaled = with_channels_shown(image, scaling, torch.tensor([[1, 1, 2]]))
    assert shown[0, :, 0, 0].tolist() == [1, 1, 2]
    assert scaled[0].tolist() == [[3, 4, 5], [3, 4, 5], [6, 7, 8]]
