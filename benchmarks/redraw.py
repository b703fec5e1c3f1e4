"""One slider step: a reused widget picture against a new pyplot figure each time.

Both paint the same three panels (scores, softmax, profile) and end with PNG bytes. The
plain way does what ``interact`` with matplotlib's inline backend does: a new figure,
drawn and saved with ``bbox_inches="tight"``. Front ends need the same time for either.
"""

import io
import time

import torch
from matplotlib import pyplot

from lmcourse import plots, widgets
from lmlib.heatmaps import entropy, expected_points, gaussian_maps, spatial_softmax

UPDATES = 20
BETAS = torch.logspace(-1, 1, UPDATES).tolist()
SCORES = 5 * gaussian_maps(torch.tensor([[[0.3, -0.2]]]), (60, 60), sigma=6)


def paint(fig, beta):
    first, second, third = fig.subplots(1, 3)
    probabilities = spatial_softmax(SCORES, beta)
    plots.draw_heatmap(first, SCORES[0, 0], title="scores")
    plots.draw_heatmap(second, probabilities[0, 0], title=f"beta {beta:.2f}")
    plots.draw_points(second, expected_points(probabilities)[0])
    third.plot(probabilities[0, 0].sum(0))
    return {"entropy": entropy(probabilities)[0, 0]}


def plain(beta):
    """A new pyplot figure, as the inline backend shows it."""
    fig = pyplot.figure(figsize=(8, 3), layout="constrained")
    paint(fig, beta)
    fig.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    pyplot.close(fig)


def run() -> list[dict]:
    pyplot.switch_backend("agg")
    explorer = widgets.Explorer(
        paint, alt="scores and softmax", beta=widgets.temperature_slider(1.0, 0.05, 20)
    )

    def ours(beta):
        explorer.controls["beta"].beta = beta

    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    cpu: dict[str, list[float]] = {"plain": [], "ours": []}
    plain(1.0)
    for beta in BETAS:  # in turns, so that a busy machine slows both
        for name, function in (("plain", plain), ("ours", ours)):
            wall, used = time.perf_counter(), time.process_time()
            function(beta)
            seconds[name].append(time.perf_counter() - wall)
            cpu[name].append(time.process_time() - used)

    def middle(values):
        return sorted(values)[len(values) // 2]

    return [
        {
            "name": "widget redraw",
            "ratio": round(middle(cpu["plain"]) / middle(cpu["ours"]), 2),
            "measured": "processor time of one update of three panels, plain / ours",
            "plain_ms": round(1000 * middle(cpu["plain"]), 1),
            "ours_ms": round(1000 * middle(cpu["ours"]), 1),
            "plain_wall_ms": round(1000 * middle(seconds["plain"]), 1),
            "ours_wall_ms": round(1000 * middle(seconds["ours"]), 1),
            "updates": UPDATES,
        }
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
