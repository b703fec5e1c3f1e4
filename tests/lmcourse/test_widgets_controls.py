"""Controls: core widgets with a tooltip, checked, and of one width."""

import ipywidgets
import pytest

from lmcourse import widgets
from lmcourse.widgets.controls import READOUT, TRACK, rows_of


def test_controls_are_core_widgets_with_a_tooltip():
    made = [
        widgets.slider("n", 0, 5, 1, doc="how many"),
        widgets.slider("x", 0.0, 5.0, 1.0, doc="how far"),
        widgets.slider("x", 0.1, 5.0, 1.0, log=True, doc="how much"),
        widgets.temperature_slider(doc="how hot"),
        widgets.dropdown("which", ["a", "b"], value="b", doc="which one"),
    ]
    for control in made:
        assert control._model_module == "@jupyter-widgets/controls"
        assert control.tooltip.startswith(("how", "which"))
    assert isinstance(made[0], ipywidgets.IntSlider) and made[-1].value == "b"


def test_the_temperature_slider_shows_both_and_passes_beta():
    control = widgets.temperature_slider(2.0)
    assert control.both.value == "T = 2, beta = 0.5"
    control.beta = 4.0
    assert control.value == 0.25 and control.both.value == "T = 0.25, beta = 4"


def test_all_labels_and_all_tracks_are_of_one_length():
    """Whoever made the controls: two of these are a notebook's own."""
    controls = [
        widgets.slider("n", 0, 5, 1),
        widgets.slider("noise (% of the eyes' distance)", 0.1, 5.0, 1.0, log=True),
        widgets.temperature_slider(),
        widgets.dropdown("which", ["a", "b"]),
        ipywidgets.SelectionSlider(options=[1, 2], description="labels"),
        ipywidgets.Checkbox(description="tick"),
    ]
    rows = rows_of(controls)
    assert {c.style.description_width for c in controls} == {"229px"}
    pixels = [int(c.layout.width.removesuffix("px")) for c in controls]
    has_readout = [True, True, False, False, True, False]
    tracks = {w - 229 - READOUT * r for w, r in zip(pixels, has_readout, strict=True)}
    assert tracks == {TRACK}
    assert {c.layout.max_width for c in controls} == {"calc(100% - 4px)"}
    assert rows[2].children == (controls[2], controls[2].both)  # T and beta beside it
    assert rows[:2] + rows[3:] == controls[:2] + controls[3:]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: widgets.slider("s", 1, 0, 0), "min < max"),
        (lambda: widgets.slider("s", 0, 1, 7), "value 7"),
        (lambda: widgets.slider("s", 0, 1, 1, log=True), "min > 0"),
        (lambda: widgets.temperature_slider(-1.0), "0 < min"),
    ],
)
def test_bad_input_gives_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
