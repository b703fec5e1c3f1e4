"""Draws the faces of ``faces.py``: geometry and colours of head, ears, hair, frame of
the glasses and, flat behind them, the body. Camera, light and wall: ``posed.py``.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch, to_gray
from lmscenes import head
from lmscenes.engine import between, uniform
from lmscenes.head import EXPRESSION, INNER_MAPS, SKIN_MAPS
from lmscenes.posed import PIVOT, TILE, Posed, points_per_centimetre
from lmscenes.shared import smoothstep
from lmscenes.surface import DepthBuffer, densify, depth_of, number_of, unit

RED = [[0.0], [0.16], [0.20]]  # of light in the shade, taken away by skin
SIDE = slice(17, 159)  # columns of the head that a camera can see: 135 degrees each way


@functools.lru_cache(maxsize=8)
def _constants(size: int, margin: float, device: torch.device) -> dict:
    """Lattice sizes, texture tables and noise for one image size."""
    detail = points_per_centimetre(size, margin)
    dense = {
        "head": (max(head.ROWS, int(37 * detail)), max(142, int(42 * detail))),
        "hair": (max(48, int(31 * detail)), max(128, int(52 * detail))),
        "ear": (max(10, int(3 * detail)), max(32, int(14 * detail))),
        "lens": (max(6, int(3 * detail)), max(60, int(17 * detail))),
        "rim": (max(5, int(0.9 * detail)), max(200, int(72 * detail))),
    }
    ends = [2 * i / (head.COLUMNS - 1) - 1 for i in (SIDE.start, SIDE.stop - 1)]

    def lattice(rows, columns):
        v, u = torch.linspace(-1, 1, rows), torch.linspace(*ends, columns)
        return torch.meshgrid(v, u, indexing="ij")

    v, u = lattice(*dense["head"])
    # The maps are smooth: for large images a coarser table, interpolated, will do.
    few = [min(n, 480) for n in dense["head"]]
    maps = head.texture(*lattice(*few)[::-1])
    generator = torch.Generator().manual_seed(5)

    def noise(rows, columns, shape):
        x = torch.randn(1, 1, rows, columns, generator=generator)
        x = F.interpolate(x, shape, mode="bicubic", align_corners=True)[0, 0]
        return (x / x.std()).flatten()

    maps = {k: densify(m[None, None], *dense["head"])[0, 0] for k, m in maps.items()}
    maps["blotch"], maps["fine"] = noise(20, 24, u.shape), noise(150, 180, u.shape)
    maps["spots"] = noise(110, 130, u.shape)
    hair = torch.stack([
        noise(4, 170, dense["hair"]), noise(6, 60, dense["hair"]),
        noise(40, 110, dense["hair"]),
        torch.linspace(0, 1, dense["hair"][0])[:, None].expand(dense["hair"]).flatten(),
    ])  # fmt: skip
    mean, identity, expression = head.model()
    hair_noise = noise(16, 48, (48, 128)).reshape(48, 128)
    out = {
        "uv": torch.stack([u, v]).flatten(1),
        "skin": torch.stack([maps[name] for name in SKIN_MAPS]),
        "inner": torch.stack([maps[name] for name in INNER_MAPS]),
        "hair": hair,
        "mean": mean,
        "fields": torch.cat([identity, expression]),
        "places": head.landmark_places(),
        "hair_noise": hair_noise,
    }
    return {k: v.to(device) for k, v in out.items()} | {"dense": dense}


class Portraits(Posed):
    """One tile of faces: geometry and colours of head, ears, hair and glasses."""

    def draw(self, knobs) -> Batch:
        q, n, fine = self.q, self.n, self.fine
        self.constants = c = _constants(self.size, knobs.margin[0], self.device)
        weights = torch.cat([q["shape"], q["expression"]], 1)
        # Always the same number of rows: the product then rounds alike in any batch.
        weights = F.pad(weights, (0, 0, 0, TILE - n))
        ring = (c["mean"] + (weights @ c["fields"])[:n]).reshape(
            n, 3, head.ROWS, head.COLUMNS
        )
        places = c["places"].expand(n, 1, -1, -1)
        marks = F.grid_sample(ring, places, align_corners=True)[:, :, 0]  # (B, 3, 68)
        self.marks = marks
        flat = self.project(marks)
        self.look_at(flat)
        landmarks = self.to_frame(flat[:, :2]).transpose(1, 2)

        # the head alone decides which landmarks are visible
        buffer = DepthBuffer(n, fine, self.device)
        out = self.turned_normals(ring)
        self.add(buffer, "head", ring[..., SIDE], facing=out[..., SIDE])
        facing = F.grid_sample(out[:, 2:], places, align_corners=True)[:, 0, 0]
        visible = self._visible(buffer, landmarks, flat[:, 2], facing)
        shown = q["length"] < 4
        for side in (-1, 1):
            self.add(buffer, "ear", self._ear(ring, side), shown)
        self.add(buffer, "hair", self._hair(ring), q["style"] != 0)
        if knobs.accessories:
            self.add(buffer, "rim", self._rims(), q["glasses"])
        keys = buffer.image()
        number = number_of(keys)
        self.shadow = self._shadow(number)
        wall = self.wall(knobs.studio, knobs.background)
        image = self.coloured(self._body(wall), number)
        if knobs.accessories:
            image = self._lenses(image, keys)
        image = self.developed(F.avg_pool2d(image, 2))
        surface, mask = self.surface(keys)
        return {"image": to_gray(image) if knobs.gray else image,
                "landmarks": landmarks, "visible": visible, "surface": surface,
                "mask": mask}  # fmt: skip

    def _visible(self, buffer, landmarks, depth, facing) -> Tensor:
        """Not behind the head: the surface at the pixel is not nearer, and faces us.

        Points on the outline need some leave: a pixel around, and slightly turned away.
        """
        at = ((landmarks + 1) * (self.fine / 2)).long()  # (B, 68, 2)
        step = torch.arange(-2, 3, device=self.device)
        x = (at[..., 0, None, None] + step).clamp(0, self.fine - 1)
        y = (at[..., 1, None, None] + step[:, None]).clamp(0, self.fine - 1)
        around = buffer.keys.gather(1, (y * self.fine + x).flatten(1))
        far = depth_of(around).reshape(self.n, 68, -1).amax(2)
        facing[:, 17:] = 1  # only the jaw lies along the outline
        return (depth < far + 0.35) & (facing > -0.3)

    def _shadow(self, number: Tensor) -> Tensor:
        """Soft darkness that hair and frames throw on the skin: (pixels,)."""
        first = self.parts["hair"][0]
        over = (number >= first).float().unsqueeze(1)
        size = over.shape[-2:]
        over = F.avg_pool2d(over, 4, ceil_mode=True)
        over = F.avg_pool2d(over, 5, 1, 2, count_include_pad=False)
        over = F.pad(over, (0, 0, 1, -1), mode="replicate")  # light comes from above
        over = F.interpolate(over, scale_factor=4, mode="bilinear")
        return over[..., : size[0], : size[1]].flatten()

    # ---- geometry of the other parts ---------------------------------------------

    def _hair(self, ring: Tensor) -> Tensor:
        """Strands from the crown down: rows run along a strand, columns around."""
        q, rows, columns = self.q, 48, 128
        col = {k: q[k][:, None] for k in ("thickness", "length", "fringe", "recede")}
        turn = torch.linspace(-1, 1, columns, device=self.device)
        u = head.u_of_angle(turn * math.pi)
        w = torch.linspace(0, 1, rows, device=self.device)[:, None]
        au = turn.abs()
        end = head.hairline(u.cpu()).to(u) - 1.6 * col["recede"] * torch.exp(
            -(((au - 0.17) / 0.12) ** 2)
        )
        rough = (
            uniform(q["identity"], columns, self.seed, stream=30) - 0.5
        )  # (B, columns)
        slow = F.avg_pool1d(rough[:, None], 9, 1, 4)[:, 0]
        fringe = col["fringe"] * (1 - smoothstep(au, 0.24, 0.36))
        end = end + fringe.clamp(max=1.0) * (-2.5 + 2.5 * slow - end)
        curtain = smoothstep(au, 0.40, 0.47) * (col["length"] > 0)
        end = torch.lerp(end, 1.5 + col["length"] + 6 * slow, curtain)
        end = end + 0.4 * rough
        y = head.CROWN + (end - head.CROWN)[:, None] * w**1.2  # (B, rows, columns)
        hang = (y - 3.0).clamp(min=0)
        v = head.v_of_height((y - hang).clamp(min=head.CROWN))
        at = torch.stack([u.expand_as(v), v], -1)
        p = F.grid_sample(ring, at, align_corners=True)  # (B, 3, rows, columns)
        out = p + p.new_tensor([0.0, 2.0, 1.0])[:, None, None]
        out = unit(out[:, 0], 0.8 * out[:, 1], out[:, 2], dim=1)
        taper = torch.lerp(1 - 0.93 * w**5, torch.ones_like(w), curtain[:, None])
        taper = torch.maximum(taper, 0.35 * fringe[:, None])
        body = 0.6 + 0.4 * torch.sin(math.pi * (w * 0.9 + 0.05))
        thick = col["thickness"][:, None] * body * taper
        bumps = self.constants["hair_noise"] * q["curl"][:, None, None]
        bumps = bumps * (1 - 0.8 * curtain[:, None])
        thick = (thick + bumps * taper + 0.12).clamp(min=0.05)
        p = p + out * thick.unsqueeze(1)
        wave = torch.sin(y * 1.1 + 9 * slow[:, None]) * q["curl"][:, None, None]
        x = p[:, 0] * (1 + 0.012 * hang) + wave * smoothstep(hang, 0, 3)
        return torch.stack([x, p[:, 1] + hang, p[:, 2] - 0.05 * hang], 1)

    def _ear(self, ring: Tensor, side: int) -> Tensor:
        r = torch.linspace(0, 1, 10, device=self.device)[:, None]
        a = torch.linspace(-math.pi, math.pi, 32, device=self.device)
        down = r * torch.sin(a)
        back = r * torch.cos(a) * (1 - 0.35 * smoothstep(down, 0.0, 1.0))
        rim = 0.35 * smoothstep(r, 0.55, 0.9) - 0.5 * (1 - smoothstep(r, 0.2, 0.6))
        at = ring.new_tensor([side * 0.587, head.v_of_height(torch.tensor(1.9))])
        base = F.grid_sample(ring, at.expand(self.n, 1, 1, 2), align_corners=True)
        x = side * (0.35 + 0.5 * back + 0.5 * rim)
        shape = torch.stack([x, 3.0 * down - 0.35 * back + 0 * r,
                             -0.7 - 1.45 * back + 0.3 * rim])  # fmt: skip
        return base + (shape if side > 0 else shape.flip(2))

    def _rim_path(self) -> tuple[Tensor, Tensor]:
        """Centre line (B, 3, n) of the frame: temple, rim, bridge, rim, temple."""
        m, q = self.marks, self.q
        t = torch.linspace(0, 2 * math.pi, 60, device=self.device)
        a = between(q["frame"][:, :1], 2.35, 2.75)
        b = between(q["frame"][:, 1:2], 1.55, 2.2)
        k = between(q["frame"][:, 2:3], 0.55, 1.0)  # 1 is an ellipse
        c, s = torch.cos(t), torch.sin(t)
        x, y = a * c.sign() * c.abs() ** k, b * s.sign() * s.abs() ** k
        eye = m[:, :2, 42:48].mean(2) - m[:, :2, 36:42].mean(2)
        half = (eye[:, :1] / 2).clamp(min=2.9) + 0.12
        middle = m[:, :, 27:28] + m.new_tensor([0.0, 0.55, 1.0])[:, None]
        right = torch.stack([half - x, y], 1)  # starts and ends at the bridge
        hinge = torch.stack([half + a, 0 * a - 0.5], 1)
        w = torch.linspace(0, 1, 25, device=self.device)
        temple = torch.stack([(hinge[:, 0] + 0.4).lerp(hinge[:, 0] * 0 + 7.9, w),
                              hinge[:, 1] + 0.3 * w], 1)  # fmt: skip
        bridge = torch.stack(
            [
                (half - a) * torch.linspace(-1, 1, 12, device=w.device),
                -0.35 * torch.ones_like(half)
                + 0 * torch.linspace(-1, 1, 12, device=w.device),
            ],
            1,
        )
        mirror = m.new_tensor([-1.0, 1.0])[:, None]
        outer = torch.roll(right[..., :-1], 30, 2)  # a loop that starts at the hinge
        left_loop = torch.cat([outer, outer[..., :1]], 2)
        half_loop = left_loop[..., :31]
        # one line that never leaves the frame: it walks the upper halves twice
        xy = torch.cat([(temple * mirror).flip(2), left_loop * mirror,
                        half_loop * mirror, bridge, half_loop.flip(2), left_loop,
                        temple], 2)  # fmt: skip
        z = -0.035 * xy[:, 0] ** 2
        behind = torch.cat(
            [w.flip(0), torch.zeros(xy.shape[2] - 50, device=w.device), w]
        )
        z = z - 9.0 * behind
        path = torch.cat([xy, z[:, None]], 1) + middle
        return path, (path[..., 25:85], path[..., -85:-25])

    def _rims(self) -> Tensor:
        path, self.loops = self._rim_path()
        t = torch.linspace(0, 2 * math.pi, 5, device=self.device)[:, None]
        thick = between(self.q["frame"][:, 3], 0.09, 0.24)[:, None, None]
        x, y, z = path[:, :, None].unbind(1)
        return torch.stack([x + 0.6 * thick * torch.cos(t), y + thick * torch.sin(t),
                            z + thick * torch.cos(t)], 1)  # fmt: skip

    # ---- colours ------------------------------------------------------------------

    def paint(self, kind, at, which, k, normal) -> Tensor:
        painters = {"head": self._skin, "ear": self._ear_skin, "hair": self._strands,
                    "rim": self._frame}  # fmt: skip
        colour = painters[kind](which, k, normal)
        if kind in ("head", "ear"):
            colour = colour * (1 - 0.5 * self.shadow[at])
        return colour

    def _skin(self, which: Tensor, k: Tensor, normal: Tensor) -> Tensor:
        t = dict(zip(SKIN_MAPS, self.constants["skin"].index_select(1, k), strict=True))
        blotch, fine, spots = t["blotch"], t["fine"], t["spots"]
        of = functools.partial(self.of, which=which)
        move = dict(zip(EXPRESSION, of("expression"), strict=True))
        skin = of("skin")
        red = skin.new_tensor([[1.03], [0.80], [0.78]])
        colour = skin * (1 + 0.02 * blotch + 0.015 * fine)
        colour = colour.lerp(colour * red, (t["blush"] * of("blush")).clamp(0, 1))
        colour = colour * (1 - 0.12 * t["bags"])
        colour = colour * (
            1 - 0.18 * of("freckles") * smoothstep(spots, 1.0, 1.8) * (0.3 + t["blush"])
        )
        # hair on the skin
        hair = of("hair")
        grain = 0.75 + 0.25 * fine
        amount = (t["beard"] * of("beard") + t["moustache"] * of("moustache")) * grain
        colour = colour.lerp(0.85 * hair, (0.95 * amount).clamp(0, 0.95))
        scalp = t["scalp"] - 1.6 * of("recede") - 0.35 * fine - 0.1
        cover = torch.sigmoid(scalp / 0.3) * (of("style") != 0)
        colour = colour.lerp(0.7 * hair, 0.9 * cover)
        brow = torch.sigmoid((of("brow") - t["brow"] + 0.15 * fine) / 0.14)
        colour = colour.lerp(0.62 * hair + 0.06 * skin, 0.85 * brow)
        # lips
        hue = of("lip_hue")
        natural = skin * skin.new_tensor([[0.92], [0.62], [0.62]])
        paint = torch.stack([0.62 + 0.2 * hue, 0.10 + 0.18 * hue, 0.16 + 0.2 * hue])
        lips = natural.lerp(paint, of("lipstick"))
        colour = colour.lerp(lips, 0.85 * t["lip"])
        fold = t["fold"] * (
            0.06
            + 0.22 * move["smile"].clamp(0, 1)
            + 0.2 * move["raise lip"].clamp(0, 1)
        )
        open_ = (1 - 0.8 * t["shade"].clamp(0, 1)) * (1 - fold)
        open_ = open_ * (1 - 0.25 * t["crease"])
        gloss = 0.07 + 0.12 * t["lip"] * (1 + of("lipstick"))
        colour = self.shade(colour, normal, which, open_, gloss * (1 - brow), tint=RED)
        colour = colour * (1 - 0.75 * t["nostril"].clamp(0, 1))
        colour = colour.lerp(0.25 * hair, (0.8 * t["lid"]).clamp(0, 0.9))
        light = of("ambient") + 0.55 * (0.5 + 0.5 * (normal * of("light")).sum(0))
        for paint, name in ((self._mouth, "inside"), (self._eye, "open_eye")):
            at = (t[name] > 0.5).nonzero().flatten()
            inner = self.constants["inner"].index_select(1, k[at])
            inner = dict(zip(INNER_MAPS, inner, strict=True))
            moved = {name: value[at] for name, value in move.items()}
            colour[:, at] = paint(inner, moved, which[at], light[at])
        return colour

    def _mouth(self, t, move, which, light) -> Tensor:
        """Teeth behind the lips, the dark, and the tongue."""
        gap = (self.marks[:, 1, 66] - self.marks[:, 1, 62]).clamp(min=0)[which]
        gap = gap * t["mouth"]
        below, above = t["gape"] * gap, (1 - t["gape"]) * gap
        x = t["x"]
        length = 0.45 + 0.35 * move["smile"] + 0.3 * move["raise lip"]
        length = length * (1 - 0.12 * (x / 2) ** 2)
        upper = torch.sigmoid((length - below) / 0.05)
        lower = torch.sigmoid((0.28 - above) / 0.05) * smoothstep(gap, 0.9, 1.6)
        tooth = torch.maximum(upper, 0.8 * lower)
        tooth = tooth * (1 - 0.6 * smoothstep(x.abs(), 1.2, 2.3))
        seam = 1 - 0.18 * torch.exp(-((((x / 0.8) % 1 - 0.5).abs() / 0.09) ** 2))
        dark = x.new_tensor([[0.17], [0.06], [0.06]])
        tongue = smoothstep(t["gape"], 0.55, 0.85) * smoothstep(gap, 1.2, 2.0)
        colour = dark.lerp(x.new_tensor([[0.62], [0.28], [0.28]]), 0.75 * tongue)
        white = x.new_tensor([[0.93], [0.90], [0.84]]) * seam
        return colour.lerp(white, tooth * smoothstep(gap, 0.06, 0.25)) * light

    def _eye(self, t, move, which, light) -> Tensor:
        """White, iris, pupil, the lamp's reflection, and the shadow of the lid."""
        gaze = self.of("gaze", which)
        side = torch.where(t["x"] > 0, 1.0, -1.0)
        x = t["x"] - side * head.EYE - gaze[0]
        y = t["y"] + move["blink"] * t["blink"] + move["lower lid"] * t["lower"]
        y = y + 0.02 - gaze[1]
        r = (x * x + y * y).sqrt()
        white = x.new_tensor([[0.95], [0.92], [0.90]])
        corner = smoothstep((t["x"].abs() - head.EYE).abs(), 0.6, 1.25)
        shade = 1 - smoothstep(t["gape"], 0, 0.4)  # the upper lid's
        white = white * (1 - 0.22 * corner) * (1 - 0.25 * shade)
        iris = self.of("iris", which) * (0.75 + 0.9 * smoothstep(y, -0.3, 0.5))
        iris = iris * (1 - 0.6 * smoothstep(r, 0.42, 0.58))
        colour = white.lerp(iris, torch.sigmoid((0.58 - r) / 0.035))
        colour = colour.lerp(0.03 + 0 * iris, torch.sigmoid((0.25 - r) / 0.03))
        colour = colour * light.clamp(0.5, 1.1)
        lamp = self.of("light", which)
        spot = ((x - 0.25 * lamp[0]) ** 2 + (y - 0.2 * lamp[1] + 0.06) ** 2).sqrt()
        spot = 0.95 * torch.sigmoid((0.13 - spot) / 0.03)
        return colour.lerp(torch.ones_like(colour), spot)

    def _strands(self, which: Tensor, k: Tensor, normal: Tensor) -> Tensor:
        strand, lock, bump, along = self.constants["hair"].index_select(1, k)
        curly = (self.of("curl", which) * 3).clamp(0, 1)
        texture = 0.16 * strand + 0.12 * lock + 0.16 * curly * bump
        hair = self.of("hair", which)
        colour = hair * (1 + texture).clamp(0.4, 1.7) + 0.02 * strand
        band = torch.exp(-(((along - 0.42 + 0.05 * lock) / 0.13) ** 2))
        gloss = 0.12 * band * (1 + 0.5 * strand) * (1 - 0.7 * curly)
        shaded = self.shade(colour, normal, which, 0.9, 0.06 + gloss, 6.0)
        return shaded.clamp(min=0)

    def _ear_skin(self, which: Tensor, k: Tensor, normal: Tensor) -> Tensor:
        dense = self.constants["dense"]["ear"]
        r = (k // dense[1]).float() / (dense[0] - 1)
        skin = self.of("skin", which)
        skin = skin * skin.new_tensor([[1.0], [0.88], [0.86]])
        hollow = 1 - 0.55 * (1 - smoothstep(r, 0.25, 0.75))
        hollow = hollow - 0.12 * smoothstep(r, 0.9, 1.0)
        normal = normal * torch.where(normal[2] < 0, -1.0, 1.0)
        return self.shade(skin, normal, which, hollow, 0.05, tint=RED)

    def _frame(self, which: Tensor, k: Tensor, normal: Tensor) -> Tensor:
        tint = self.q["frame"][which]
        base = torch.stack([0.06 + 0.35 * tint[:, 0] * (tint[:, 1] > 0.6),
                            0.06 + 0.22 * tint[:, 0] * (tint[:, 1] > 0.6),
                            0.07 + 0.12 * tint[:, 0] * (tint[:, 1] > 0.6)])  # fmt: skip
        normal = normal * torch.where(normal[2] < 0, -1.0, 1.0)
        return self.shade(base, normal, which, 1.0, 0.35, 20.0)

    def _lenses(self, image: Tensor, keys: Tensor) -> Tensor:
        """Glass in the two rims: dark, or a slight veil with a reflection."""
        buffer = DepthBuffer(self.n, self.fine, self.device)
        rows, columns = self.constants["dense"]["lens"]
        r = torch.linspace(0, 1, 6, device=self.device)[:, None]
        for side, loop in enumerate(self.loops):
            middle = loop[..., :-1].mean(2, keepdim=True)
            lens = torch.lerp(middle[:, :, None], loop[:, :, None], r)
            points = densify(self.screen(lens), rows, columns)
            buffer.splat(points, side * rows * columns, self.q["glasses"][:, None])
        glass = buffer.image()
        seen = (glass < keys).unsqueeze(1)
        down = (number_of(glass) % columns).float() / columns * (2 * math.pi)
        sheen = (0.5 - 0.5 * torch.sin(down)).unsqueeze(1)
        dark = self.q["sunglasses"][:, None, None, None]
        colour = torch.where(dark, 0.04 + 0.16 * sheen, 0.85)
        alpha = torch.where(dark, 0.94, 0.03 + 0.12 * sheen**4)
        return image.lerp(colour.expand_as(image), alpha * seen)

    def _body(self, image: Tensor) -> Tensor:
        """Neck and clothes on the wall: a flat layer behind the head."""
        q, n, s = self.q, self.n, self.size
        x, y = self.centimetres()
        x = x - PIVOT[0]  # it hangs from the neck and does not turn with the head
        build = torch.where(q["male"], 0.6, -0.4)[:, None, None]
        neck = 4.7 + build + 0.06 * (y - 12).clamp(min=0) ** 2
        slope = (y - 14.2).clamp(min=0)
        shoulders = 3.2 * slope.clamp(max=30) ** 0.85 + 6.2
        width = torch.where(y > 14.2, torch.maximum(neck, shoulders), neck)
        width = neck + smoothstep(y, 13.6, 16.5) * (shoulders - neck).clamp(min=0)
        inside = torch.sigmoid((width - x.abs()) * (2.4 * s / 22)) * (y > 5)
        t = (x / width).clamp(-0.98, 0.98)
        normal = torch.stack([t, -0.25 * smoothstep(y, 13, 17), (1 - t * t).sqrt()])
        at = (inside > 0.004).flatten().nonzero().flatten()
        normal = unit(*normal.flatten(1)[:, at])
        which = at // (s * s)
        collar = 15.3 + 3.5 * q["pattern"][:, 0, None, None] * (1 - (x / 6.5) ** 2)
        cloth = (y > collar.clamp(min=14.8)).flatten()[at]
        stripes = torch.sin(y * (1 + 5 * q["pattern"][:, 1, None, None]))
        stripes = 1 + 0.2 * (q["pattern"][:, 2] > 0.6)[:, None, None] * stripes.sign()
        colour = torch.where(
            cloth,
            self.of("cloth", which) * stripes.flatten()[at],
            self.of("skin", which),
        )
        below = y - self.marks[:, 1, 8, None, None]
        shadow = 1 - 0.55 * (1 - smoothstep(below, -0.5, 4.5))
        colour = self.shade(colour, normal, which, shadow.flatten()[at], 0.0)
        body = image.transpose(0, 1).reshape(3, -1)
        body[:, at] = body[:, at].lerp(colour, inside.flatten()[at])
        return body.reshape(3, n, s, s).transpose(0, 1)
