"""First pictures: as wide as a page, described, and showing what they say."""

import pytest
import torch

from lmcourse import openings
from lmcourse.openings import CHAINS, OPENINGS, opening, show_opening
from lmcourse.plots import pixels


@pytest.mark.parametrize("number", OPENINGS)
def test_a_first_picture_is_wide_large_and_described(number):
    fig, alt = opening(number)
    picture = pixels(fig)
    assert picture.width == 900 and picture.height >= 200
    assert len(alt.split()) > 10
    boxes = [ax.get_window_extent() for ax in fig.axes]
    assert min(box.width for box in boxes) >= 150  # pixels a side
    texts = [t for ax in fig.axes for t in (ax.title, ax.xaxis.label, ax.yaxis.label)]
    for text in texts:
        if text.get_text():
            extent = text.get_window_extent()
            assert text.get_fontsize() >= 11
            assert extent.x0 >= -1 and extent.x1 <= 901
            assert extent.y0 >= -1 and extent.y1 <= picture.height + 1


def test_equivariance_is_better_on_every_chain_that_is_shown():
    alone, both = (
        openings._on_blocks(setting, CHAINS)[2]
        for setting in ("Seq-MT(L)@5", "Seq-MT(L+T)@5")
    )
    assert bool((both < alone).all())


def test_on_the_plateau_all_five_sit_together():
    stuck, _, _ = openings._on_blocks("Seq-MT(L+T)@1", CHAINS)
    free, _, _ = openings._on_blocks("Seq-MT(L+T)@5", CHAINS)
    apart = [
        30 * (p - p.mean(1, keepdim=True)).norm(dim=-1).mean() for p in (stuck, free)
    ]
    assert apart[0] < 2.5 and apart[1] > 2 * apart[0]


def test_three_detectors_have_one_mean_error():
    fig, _ = opening("03")
    errors = []
    for ax in fig.axes:
        ends = [torch.tensor(line.get_xydata()) for line in ax.lines]
        errors.append(torch.stack([a - b for a, b in ends]).norm(dim=-1).mean().item())
    assert len(errors) == 3
    assert errors == pytest.approx([errors[0]] * 3, rel=1e-4)


def test_unknown_notebooks_are_errors_and_others_are_shown(monkeypatch):
    with pytest.raises(ValueError, match="no opening '99'"):
        opening("99")
    seen = []
    monkeypatch.setattr(openings, "show", lambda *given, **how: seen.append(how))
    show_opening("00")
    assert seen == [{"first": True}]
