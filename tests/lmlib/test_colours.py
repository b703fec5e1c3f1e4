"""Random colours: what was drawn is read back from images of two greys or one colour.

Of such images brightness, contrast and saturation can be solved for, and must be drawn
as the papers say.
"""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from lmlib import colours

COUNT = 2000


def generator():
    return torch.Generator().manual_seed(0)


def two_levels(low, high):
    """Images whose upper half has the first colour, the lower the second."""
    image = torch.tensor([low, high]).view(1, 2, 3, 1).permute(0, 2, 1, 3)
    return image.expand(COUNT, 3, 2, 2).clone()


def assert_uniform(values, low, high):
    """Drawn evenly between both ends, by Kolmogorov and Smirnov."""
    values = np.asarray(values)
    assert low - 1e-4 <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= high + 1e-4
    assert kstest((values - low) / (high - low), "uniform").pvalue > 1e-3


def test_brightness_is_added_and_contrast_is_around_the_mean():
    image = two_levels((0.4, 0.4, 0.4), (0.6, 0.6, 0.6))
    made = colours.lmdis_jitter(image, 0.1, 0.5, generator())
    top, bottom = made[:, 0, 0, 0], made[:, 0, 1, 0]
    brightness, contrast = (top + bottom) / 2 - 0.5, (bottom - top) / 0.2
    assert_uniform(brightness, -0.1, 0.1)
    assert_uniform(contrast, 0.5, 1.5)
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.1
    assert torch.equal(made[:, :1].expand(-1, 3, -1, -1), made)  # colours stay grey
    bright = colours.lmdis_jitter(torch.ones(4, 3, 2, 2), 0.5, 0.5, generator())
    assert bright.max() == 1  # and nothing leaves [0, 1]
    assert torch.equal(colours.lmdis_jitter(image, 0.0, 0.0, generator()), image)


def test_brightness_contrast_and_saturation_are_factors(monkeypatch):
    monkeypatch.setattr(colours, "COLOUR_SPREAD", (0.0, 0.0, 0.0))
    # Grey .4 above, below a colour of grey .6 whose red is .05 more, green .05 less.
    image = two_levels((0.4, 0.4, 0.4), (0.65, 0.55, 0.6))
    made = colours.colour_jitter(image, 0.3, generator())
    gray = made.mean(1)[:, :, 0]
    brightness = gray.mean(1) / 0.5
    contrast = (gray[:, 1] - gray[:, 0]) / 0.2 / brightness
    saturation = (made[:, 0, 1, 0] - gray[:, 1]) / 0.05 / brightness / contrast
    for factor in (brightness, contrast, saturation):
        assert_uniform(factor, 0.7, 1.3)
    apart = np.corrcoef(np.stack([brightness, contrast, saturation]))
    assert np.abs(apart - np.eye(3)).max() < 0.1
    blue = (made[:, 2, 1, 0] - gray[:, 1]).abs().max()  # as grey as it was
    assert blue < 1e-5


def test_noise_lies_along_the_colours_of_nature():
    made = colours.colour_jitter(torch.full((COUNT, 3, 1, 1), 0.5), 0.0, generator())
    noise = (made[..., 0, 0] - 0.5).double().numpy()
    assert np.abs(noise.mean(0)).max() < 0.002
    # Krizhevsky et al. 2012: deviation .1 times the eigenvalues along the eigenvectors
    axes = np.array(colours.COLOUR_AXES)
    expected = axes @ np.diag(np.square([0.02175, 0.00188, 0.00045])) @ axes.T
    assert np.cov(noise.T) == pytest.approx(expected, abs=2e-5)
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-3)


def test_every_image_has_colours_of_its_own_and_none_leaves_its_range():
    image = torch.rand(1, 3, 4, 4, generator=generator()).expand(8, -1, -1, -1)
    for made in (
        colours.colour_jitter(image, 0.4, generator()),
        colours.lmdis_jitter(image, 0.2, 0.5, generator()),
    ):
        assert 0 <= made.min() and made.max() <= 1
        assert (made[1:] - made[:1]).abs().amax((1, 2, 3)).min() > 0.01
