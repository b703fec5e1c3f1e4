"""Many Seq-MT networks trained at once, as one.

Networks of one shape, such as the seeds and settings of a table, are stacked along a
new first dimension, and ``torch.func.vmap`` turns their convolutions into one grouped
convolution: a GPU that one small network leaves idle is full. Every network keeps its
own images, label masks, loss weights and random start, and since no weight is shared,
each trains as it would alone (``tests/lmcourse/test_seqmt_stack.py``).
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from lmlib.fftconv import LargeKernelConv2d
from lmlib.heatmaps import soft_argmax
from lmlib.methods.seqmt import (
    LandmarkLearner,
    SeqMt,
    class_loss,
    elt_mask,
    equivariance_loss,
    landmark_loss,
)
from lmlib.samples import Batch
from lmlib.warps import seqmt_affine


class SeqMtStack(LandmarkLearner):
    """M networks; ``losses`` takes M batches of B images, one after the other.

    ``fit(stack, data, (pool, ...), batch_size=M * B)`` with one pool of images for each
    network makes such batches. Networks differ in their weights, loss weights and beta,
    not in their layers: ValueError otherwise.
    """

    name = "seqmt-stack"

    def __init__(self, methods: list[SeqMt]):
        first = methods[0]
        super().__init__(first.config)
        shapes = [[p.shape for p in method.parameters()] for method in methods]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("only networks with the same layers can be stacked")
        for name in ("trunk", "warp", "elt_images", "size", "dropout"):
            values = {getattr(method.config, name) for method in methods}
            if len(values) > 1:
                raise ValueError(f"the networks to stack differ in {name}: {values}")
        self.count = len(methods)
        stacked, _ = stack_module_state(methods)
        # A parameter's name must not hold a dot.
        self.stacked = nn.ParameterDict(
            {name.replace(".", "/"): p.detach() for name, p in stacked.items()}
        )
        # The layers' code without their weights; a list hides it from parameters().
        self._layers = [copy.deepcopy(first).to("meta")]
        for layer in self._layers[0].modules():
            if isinstance(layer, LargeKernelConv2d):
                layer.direct = True  # what vmap can make a grouped convolution of
        for name in ("class", "landmark", "equivariance", "l2"):
            values = [method.weights.get(name, 0.0) for method in methods]
            self.register_buffer(f"weight_{name}", torch.tensor(values), False)
        betas = torch.tensor([method.beta * method.gain for method in methods])
        self.register_buffer("betas", betas, False)

    def _each(self, part: str, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        """Apply every network's layers ``part`` to its own x."""
        layers = self._layers[0].train(self.training).get_submodule(part)
        prefix = f"{part}/".replace(".", "/")
        weights = {
            name.removeprefix(prefix).replace("/", "."): p
            for name, p in self.stacked.items()
            if name.startswith(prefix)
        }
        run = vmap(
            lambda w, x: functional_call(layers, w, (x,)), randomness="different"
        )
        return run(weights, x)

    def landmarks(self, images: Float[Tensor, "m b c h w"]) -> Float[Tensor, "m b k 2"]:
        """As for one network, M at once."""
        scores = self._each("maps", images)  # (M, B, K, H, W)
        scores = scores * self.betas.view(-1, 1, 1, 1, 1)
        return soft_argmax(scores.flatten(0, 1)).unflatten(0, (self.count, -1))

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Terms of eq. 3 and 4, weighted and added over the networks."""
        batch = {name: x.unflatten(0, (self.count, -1)) for name, x in batch.items()}
        size, points = self.config.size, self.landmarks(batch["image"])
        terms = {"landmark": landmark_loss(points, batch, size)}  # (M,) each
        if self.weight_class.any():
            seen = (points if self.class_pulls else points.detach()).flatten(2)
            losses = [
                class_loss(self._each(f"heads.{name}", seen), batch[name])
                for name in self.config.heads
            ]
            terms["class"] = torch.stack(losses).mean(0)
        if self.weight_equivariance.any() and self.elt_acts:
            terms["equivariance"] = self._equivariance(batch, points)
        if self.weight_l2.any():
            squares = [
                p.square().flatten(1).sum(1)
                for p in self.stacked.values()
                if p.ndim > 2  # weights, with the dimension of the stack
            ]
            terms["l2"] = torch.stack(squares).sum(0)
        weights = {name: getattr(self, f"weight_{name}") for name in terms}
        return {name: (weights[name] * term).sum() for name, term in terms.items()}

    def _equivariance(self, batch: Batch, points: Tensor) -> Tensor:
        # All images are transformed, wanted or not: a stack has no ragged batches.
        image, on = batch["image"], elt_mask(batch, self.config.elt_images)
        warp = seqmt_affine(on.numel(), self.config.warp, self.generator)
        again = self.landmarks(warp.image(image.flatten(0, 1)).view_as(image))
        moved = warp.points(points.flatten(0, 1)).view_as(points)
        keep = on[..., None, None]
        return equivariance_loss(moved * keep, again * keep, self.config.size)

    def clip_gradients(self, norm: float) -> None:
        """Clip the gradient of each network on its own, as ``fit`` does for one."""
        gradients = [p.grad for p in self.stacked.values() if p.grad is not None]
        squares = [g.square().flatten(1).sum(1) for g in gradients]
        length = torch.stack(squares).sum(0).sqrt()  # (M,)
        factor = (norm / (length + 1e-6)).clamp(max=1)
        for g in gradients:
            g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))

    @torch.no_grad()
    def unstack(self, methods: list[SeqMt]) -> None:
        """Copy the trained weights back into the networks they came from."""
        for number, method in enumerate(methods):
            for name, parameter in method.named_parameters():
                parameter.copy_(self.stacked[name.replace(".", "/")][number])
