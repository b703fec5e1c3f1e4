"""Exercises of notebook 42: shares of a gain, and the difference of two gains."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint

# ---- shares of a gain ----------------------------------------------------------------


def gain_shares(rates):
    return (rates[1:] - rates[0]) / (rates[-1] - rates[0])


@exercise(
    "gain_shares",
    solution=gain_shares,
    library=gain_shares,
    level="easy",
    minutes=5,
    example=(torch.tensor([50.0, 58.0, 60.0]),),
)
def _examine_gain_shares(fn) -> str | None:
    rates = torch.tensor([40.0, 52.0, 55.0, 54.0, 58.0])
    right = gain_shares(rates)
    steps = rates.diff()
    slips = {
        "That is what each step adds by itself. Asked is how much of the whole gain is "
        "reached by then: sum up.": steps / (rates[-1] - rates[0]),
        "The gain begins at one step: take rates[0] off above and below.": rates[1:]
        / rates[-1],
        "Divide by the whole gain, from the first to the last, not by the last rate.": (
            (rates[1:] - rates[0]) / rates[-1]
        ),
        "Divide by the whole gain, not by the first rate.": (rates[1:] - rates[0])
        / rates[0],
        "These are gains in points. Divide by the gain of the last step.": rates[1:]
        - rates[0],
        "That is what is still missing at each step: one minus the share.": 1 - right,
        "A share, not percent: the last is 1.": 100 * right,
    }
    return first_hint(fn(rates), right, slips)


# ---- the difference of two gains -----------------------------------------------------


def dose_response(with_hard, without_hard, with_easy, without_easy):
    lost = (with_hard - without_hard) - (with_easy - without_easy)  # one for each seed
    return lost.mean().item(), (lost.std() / len(lost) ** 0.5).item()


@exercise(
    "dose_response",
    solution=dose_response,
    library=dose_response,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([60.0, 62.0]),
        torch.tensor([50.0, 51.0]),
        torch.tensor([80.0, 81.0]),
        torch.tensor([79.0, 79.0]),
    ),
)
def _examine_dose_response(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    seeds = 3 * torch.randn(5, generator=g)  # what a seed does to all four
    a, b, c, d = (
        level + seeds + torch.randn(5, generator=g)
        for level in (60.0, 48.0, 80.0, 77.0)
    )
    mean, error = dose_response(a, b, c, d)
    lost, root = (a - b) - (c - d), 5**0.5
    apart = torch.stack([x.var() for x in (a, b, c, d)]).sum().div(5).sqrt().item()
    ratio = (a - b) / (c - d)
    slips = {
        "The sign: the gain in the hard world comes first.": (-mean, error),
        "These four are paired by seed: take the differences of each seed first, then "
        "their deviation. What a seed does to all four cancels.": (mean, apart),
        "That is the deviation of the seeds. The standard error divides it by the root "
        "of their number.": (mean, lost.std().item()),
        "Divide by the root of the number of seeds, not by their number.": (
            mean,
            lost.std().item() / 5,
        ),
        "The sample's deviation divides by S - 1 (torch's std does).": (
            mean,
            lost.std(correction=0).item() / root,
        ),
        "That is the gain in the hard world alone. Take the easy world's off.": (
            (a - b).mean().item(),
            ((a - b).std() / root).item(),
        ),
        "You compare the worlds without the module's rivals: a harder world is harder "
        "for everybody. Compare gains.": (
            (a - c).mean().item(),
            ((a - c).std() / root).item(),
        ),
        "A ratio of gains is no good here: the gain in the easy world may be zero.": (
            ratio.mean().item(),
            (ratio.std() / root).item(),
        ),
    }
    return first_hint(fn(a, b, c, d), (mean, error), slips)
