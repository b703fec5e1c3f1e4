"""What SAL-VTON's warps are compared with: a spline on the same landmarks."""

from jaxtyping import Float
from torch import Tensor

from lmlib.geometry import ThinPlateSpline
from lmlib.methods.salvton.flows import Links

SMOOTH = 1e-3  # how far the spline may miss a landmark
UNUSED = 1e9  # how far it may miss one that one of the images does not show


def spline_flow(links: Links, size: tuple[int, int]) -> Float[Tensor, "b 2 h w"]:
    """The spline through all landmarks that both images show, as a flow.

    The older way to warp a garment, such as LM-VTON's (Liu et al. 2021). Links with
    fewer than three active landmarks that are not on a line have no spline: what comes
    back is some affine flow.
    """
    free = (~links.active).to(links.person) * (UNUSED - SMOOTH) + SMOOTH
    warp = ThinPlateSpline.from_points(links.garment, links.person, free)
    return warp.sampling_grid(*size, device=links.person.device).permute(0, 3, 1, 2)
