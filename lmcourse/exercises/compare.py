"""Is an answer right, and if not, which slip explains it? Used by every examination."""

import torch


def close(got, wanted, tolerance: float = 1e-4) -> bool:
    """Equal up to ``tolerance`` (relative and absolute): numbers or tensors."""
    got, wanted = (torch.as_tensor(v).detach().double() for v in (got, wanted))
    same = {"rtol": tolerance, "atol": tolerance, "equal_nan": True}
    return got.shape == wanted.shape and torch.allclose(got, wanted, **same)


def first_hint(
    got, right, slips: dict, otherwise="The numbers differ", tolerance: float = 1e-4
) -> str | None:
    """None if ``got`` is ``right``; else the hint of the slip that explains it.

    ``slips`` maps each hint to what that slip returns for the same input. Without a
    match the answer names the worst number, after the words ``otherwise``.
    """
    if close(got, right, tolerance):
        return None
    for hint, wrong in slips.items():
        if close(got, wrong, tolerance):
            return hint
    got, right = (torch.as_tensor(v).detach().flatten() for v in (got, right))
    if not torch.isfinite(got).all():
        return "Some values are NaN or infinite. Which of your steps can do that?"
    worst = (got - right).abs().argmax()
    return (
        f"{otherwise}: {right[worst]:.4f} is expected where yours is {got[worst]:.4f}."
    )


def always_the_centre(images):
    """A detector that answers with the same place in every picture: for examples."""
    return torch.zeros(len(images), 1, 2)
