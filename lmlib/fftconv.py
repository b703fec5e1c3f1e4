"""Convolutions with large kernels through the FFT, for CPUs.

The plain convolution is PyTorch's: ``LargeKernelConv2d`` is one, and falls back to it.
"""

import torch
from jaxtyping import Complex, Float
from scipy.fft import next_fast_len
from torch import Tensor, nn


class _Correlation(torch.autograd.Function):
    """ "Same" cross-correlation by the convolution theorem, gradients too.

    With x, y the images and w the kernel, a product of spectra for each frequency and
    no sum over the kernel's places: Y = X conj(W), dX = G W, dW = X conj(G). All three
    spectra are taken once; autograd would take them again on the way back.
    """

    @staticmethod
    def forward(
        context, x: Float[Tensor, "b i h w"], weight: Float[Tensor, "o i n n"]
    ) -> Float[Tensor, "b o h w"]:
        height, width = x.shape[-2:]
        kernel, reach = weight.shape[-1], weight.shape[-1] // 2
        # Circular sums must not reach round to the other edge.
        size = tuple(next_fast_len(side + reach, real=True) for side in (height, width))
        spectrum = torch.fft.rfft2(x.contiguous(), size).permute(2, 3, 0, 1)
        filters = torch.fft.rfft2(weight.contiguous(), size).permute(2, 3, 1, 0)
        spectrum = spectrum.contiguous()  # (U, V, B, I)
        filters = filters.contiguous()  # (U, V, I, O)
        y = _to_image(spectrum @ filters.conj(), size, reach)
        context.save_for_backward(spectrum, filters)
        context.about = size, kernel, reach
        return y[..., :height, :width].contiguous()

    @staticmethod
    def backward(context, gradient: Float[Tensor, "b o h w"]):
        spectrum, filters = context.saved_tensors
        size, kernel, reach = context.about
        height, width = gradient.shape[-2:]
        g = torch.fft.rfft2(gradient.contiguous(), size).permute(2, 3, 0, 1)
        g = g.contiguous()  # (U, V, B, O)
        dx = None
        if context.needs_input_grad[0]:
            dx = _to_image(g @ filters.transpose(-1, -2), size, -reach)
            dx = dx[..., :height, :width].contiguous()
        dw = _to_image(g.conj().transpose(-1, -2) @ spectrum, size, reach)
        return dx, dw[..., :kernel, :kernel].contiguous()


def _to_image(
    spectrum: Complex[Tensor, "u v a b"], size: tuple[int, int], shift: int
) -> Float[Tensor, "a b {size[0]} {size[1]}"]:
    """Back from frequencies, moved down and right by ``shift``."""
    image = torch.fft.irfft2(spectrum.permute(2, 3, 0, 1), size)
    return image.roll((shift, shift), (-2, -1))


class LargeKernelConv2d(nn.Conv2d):
    """A "same" ``Conv2d`` for kernels of 9x9 and more: on a CPU through the FFT.

    The same weights and, to rounding, the same results and gradients. A training step
    of Blocks' 60-pixel stack takes two thirds of the time (``benchmarks/training.py``);
    a GPU convolves directly, and so does everybody where ``direct`` is set and who
    works in bfloat16, which has no FFT.
    """

    direct = False

    def forward(self, x: Float[Tensor, "*b i h w"]) -> Float[Tensor, "*b o h w"]:
        half = torch.is_autocast_enabled("cpu")
        if self.direct or half or x.device.type != "cpu":
            return super().forward(x)
        return _Correlation.apply(x, self.weight) + self.bias[:, None, None]
