"""Every scene draws what it drew before: a few images, stored beside this test.

Rows of results and shipped networks rest on these pictures, so a change of a scene's
code must not move a pixel. Renderings of floats may differ in their last bits between
processors, and then a pixel on an outline may show its neighbour: hence a tolerance in
place of a hash. After a change that is meant, running this file as a script stores the
pictures anew; look at them first.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import lmscenes

PICTURES = "image", "target", "garment"
STORED = Path(__file__).with_name("scene_pins.npz")
INDICES = [7, 100_003]
SCENES = {  # two sizes and, of those with variants, the other way they are drawn
    "Animals": ({"size": 32}, {"size": 50, "frame": "face"}),
    "Blocks": ({"size": 30}, {"size": 60}),
    "Cars": ({"size": 32}, {"size": 50, "aspect": 2}),
    "Faces": ({"size": 32}, {"size": 50, "cameras": True, "gray": True}),
    "Garments": ({"size": 48}, {"size": 64, "clutter": 0}),
    "Hands": ({"size": 32}, {"size": 50, "gray": True}),
    "Roboarm": ({"size": 32}, {"size": 50, "alike": False}),
    "Shapes": ({"size": 30}, {"size": 60}),
    "Tryon": ({"size": (48, 36)}, {"size": (64, 48), "clutter": 0}),
    "Walkers": ({"size": 32}, {"size": 50, "face": False}),
}
CASES = [(name, options) for name, both in SCENES.items() for options in both]


def draw(name: str, options: dict) -> dict[str, np.ndarray]:
    """Image in bytes, points and what else is small, under keys for the file."""
    batch = getattr(lmscenes, name)(**options).batch(INDICES)
    for key in {*PICTURES} & {*batch}:
        batch[key] = (batch[key] * 255).round().byte()
    where = f"{name}@{options['size']}"
    return {
        f"{where}/{key}": value.numpy()
        for key, value in batch.items()
        if key in PICTURES or value.ndim <= 2 or key == "landmarks"
    }


@pytest.fixture(scope="module")
def stored():
    with np.load(STORED) as file:
        return dict(file)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_scene_draws_what_it_drew_before(name, options, stored):
    drawn = draw(name, options)
    where = f"{name}@{options['size']}/"
    assert drawn.keys() == {key for key in stored if key.startswith(where)}
    for key, value in drawn.items():
        was = stored[key]
        if key.split("/")[1] in PICTURES:
            off = np.abs(value.astype(int) - was)
            assert (off > 4).mean() < 0.01 and off.mean() < 0.25, key
        elif value.dtype.kind == "f":
            np.testing.assert_allclose(value, was, rtol=1e-4, atol=1e-4, err_msg=key)
        else:
            np.testing.assert_array_equal(value, was, err_msg=key)


def test_every_scene_is_pinned_at_two_sizes(stored):
    assert {*SCENES} == {*lmscenes.__all__}
    assert {key.split("/")[0] for key in stored} == {
        f"{name}@{options['size']}" for name, options in CASES
    }
    assert all(a["size"] != b["size"] for a, b in SCENES.values())


@pytest.mark.parametrize("name", SCENES)
def test_another_picture_is_noticed(name, stored):
    """The tolerance bites: one grey level and a half everywhere, or another index."""
    options = SCENES[name][0]
    image = draw(name, options)[f"{name}@{options['size']}/image"].astype(int)
    was = stored[f"{name}@{options['size']}/image"]
    assert np.abs(np.minimum(image + 1, 255) - was).mean() > 0.25
    assert (np.abs(image[::-1] - was) > 4).mean() > 0.01


if __name__ == "__main__":
    torch.set_num_threads(1)
    pictures = {}
    for case in CASES:
        pictures |= draw(*case)
    np.savez_compressed(STORED, **pictures)
    print(f"{STORED}: {STORED.stat().st_size / 1000:.0f} kB")
