"""What a measurement says of the machine that made it."""

import pytest
import torch

from lmcourse.evidence.results import make_of
from lmlib.machine import environment


@pytest.mark.parametrize(
    ("instructions", "said"),
    [("AVX2", True), ("AVX512", False), ("DEFAULT", False)],
)
def test_a_processor_with_less_than_avx512_is_another_make(
    instructions, said, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    make = make_of(environment()["device"])
    assert (", AVX2" in make) == said
    assert "threads" not in make
