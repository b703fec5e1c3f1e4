"""From a preset and images to a trained network in one file, and back.

What the commands ``train``, ``evaluate`` and ``predict`` have in common: how each
method is trained, what its file says of itself, and how its answers become landmarks.

* Seq-MT learns the landmarks of the data; ``labels`` is the share of images that keep
  theirs. Images are turned, moved and zoomed a little, as on 300-W.
* LMDIS discovers its landmarks.
* DVE has descriptors and no landmarks. Its file also keeps the directions of
  ``CLUSTERS`` kinds of descriptors, found by k-means on training images; a landmark is
  where a kind is.

For the last two, ``evaluate`` fits annotated landmarks to the discovered ones.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from lmlib.checkpoints import read_metadata, save_checkpoint
from lmlib.config import METHODS, Settings, configure
from lmlib.datasets.images import Images
from lmlib.landmarker import CHUNK, CLUSTERS, Landmarker, measure, open_images
from lmlib.machine import environment
from lmlib.methods.dve import Dve, cluster
from lmlib.methods.lmdis import Lmdis, LmdisConfig
from lmlib.methods.seqmt import SeqMt, SeqMtConfig, wait
from lmlib.samples import Batch, as_tensor, augment, class_balanced_subset
from lmlib.texts import check_writable, read_range, read_share
from lmlib.training import constant_then_decay, cosine, fit, recompute_statistics
from lmlib.warps import seqmt_affine

# --- training -------------------------------------------------------------------------


def train(
    settings: Settings,
    out: str | Path,
    *,
    device=None,
    force: bool = False,
    command: str = "",
    progress: bool = True,
    save_every: int = 100,
) -> dict | None:
    """Train a network and write it to ``out``; returns what that file says of itself.

    A killed run goes on where it was, from ``.run.safetensors`` beside ``out``. None if
    ``out`` is there already, with the same settings.

    Raises:
        ValueError: ``out`` or an unfinished run has other settings, and not ``force``.
    """
    out, wanted = Path(out), asdict(settings)
    state, about = (out.with_suffix(f".run.{end}") for end in ("safetensors", "json"))
    check_writable(out)
    if out.exists() and not force:
        made = read_metadata(out).get("settings")
        if made == wanted:
            return None
        raise ValueError(f"{out}: {_differences(made, wanted)}; --force overwrites it")
    made = json.loads(about.read_text(encoding="utf-8")) if about.exists() else None
    if made not in (None, wanted) and state.exists() and not force:
        raise ValueError(
            f"{state}: an unfinished run, {_differences(made, wanted)}; --force starts "
            "anew"
        )
    config = configure(settings.method, settings.preset, settings.changes)
    data = open_images(settings.data, settings.split, config, **settings.options)
    pool = data.indices
    if settings.images:
        pool = read_range(settings.images, len(data))
    pool, held = as_tensor(pool), None
    if settings.method != "seqmt" and (settings.held or settings.labels != "all"):
        raise ValueError(
            f"{settings.method} uses no landmarks: --labels and --val are for seqmt"
        )
    if settings.held:
        if not 0 < settings.held < len(pool):
            raise ValueError(f"cannot hold back {settings.held} of {len(pool)} images")
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))
        chosen = order[: settings.held].sort().values
        held, pool = pool[chosen], pool[order[settings.held :].sort().values]
    changes = list(settings.changes)
    if settings.method == "seqmt":
        config = _suited(config, data.batch(pool[:1]), settings.data)
        changes.append(f"landmarks={config.landmarks}")
    if settings.batch:
        config = replace(config, batch_size=settings.batch)
    steps = settings.steps or default_steps(config, settings.preset, len(pool))
    torch.manual_seed(settings.seed)
    method = METHODS[settings.method][1](config)
    recipe = {"seqmt": _seqmt, "lmdis": _lmdis, "dve": _dve}[settings.method]
    pools, options = recipe(method, data, pool, steps, settings)
    if made != wanted:
        state.unlink(missing_ok=True)
        about.write_text(json.dumps(wanted), encoding="utf-8")
    history = fit(
        method,
        data,
        pools,
        steps,
        **{"batch_size": config.batch_size, "lr": config.lr, **options},
        seed=settings.seed,
        device=device,
        checkpoint=state,
        save_every=save_every,
        progress=progress,
    )
    device = next(method.parameters()).device
    if settings.method == "lmdis":
        batches = min(30, max(1, len(pool) // config.batch_size))
        recompute_statistics(method, data, pool, batches, config.batch_size)
    found = Landmarker(method).to(device).eval()
    if found.centres is not None:
        some = pool[:: max(1, len(pool) // 100)][:100]
        with torch.no_grad():
            parts = [
                method.descriptors(method.crop(data.batch(part, device)["image"]))
                for part in some.split(CHUNK)
            ]
        vectors = torch.cat(parts).permute(0, 2, 3, 1).flatten(0, 2)
        few = vectors[:: max(1, len(vectors) // 10_000)]
        found.centres.copy_(cluster(few, CLUSTERS))
    metadata = {
        "settings": wanted,
        "changes": changes,
        "n_train": len(pool),
        "steps": steps,
        "batch": options.get("batch_size", config.batch_size),
        "losses": history[-1],
        "command": command,
        **environment(),
        "trained_on": str(device),
    }
    if held is not None:
        metadata["held"] = held.tolist()
        metadata["held_error"] = measure(found, data, held)["error"]
    save_checkpoint(out, found, **metadata)
    state.unlink(missing_ok=True)
    about.unlink()
    return metadata


def default_steps(config, preset: str, images: int) -> int:
    """LMDIS: the preset's. Else 2,000 for a classroom's preset, DVE's epochs for the
    others, and 20,000 for Seq-MT, whose paper names none."""
    if isinstance(config, LmdisConfig):
        return config.steps
    if preset.endswith("_class"):
        return 2_000
    if isinstance(config, SeqMtConfig):
        return 20_000
    return max(1, config.epochs * images // config.batch_size)


def _differences(made: dict | None, wanted: dict) -> str:
    made = made or {}
    changed = [
        f"{name} {made.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if made.get(name) != value
    ]
    return f"made with other settings ({'; '.join(changed)})"


def _suited(config: SeqMtConfig, batch: Batch, sources: list[str]) -> SeqMtConfig:
    """The configuration with the landmarks of the data."""
    name = ", ".join(sources)
    if len(sources) > 1:
        raise ValueError(f"seqmt learns the landmarks of one data set, got {name}")
    if "landmarks" not in batch:
        raise ValueError(f"{name}: has no landmarks, which seqmt learns from")
    missing = [label for label in config.heads if label not in batch]
    if missing and config.weight_class:
        raise ValueError(
            f"{name}: has no {', '.join(missing)}, which this preset learns from; "
            "choose a preset without classes (w300, rcn_plus) or add --set "
            "weight_class=0 --set classes=0"
        )
    return replace(config, landmarks=batch["landmarks"].shape[1])


def _seqmt(method: SeqMt, data: Images, pool: Tensor, steps: int, settings: Settings):
    config, share = method.config, read_share(settings.labels)
    chosen = torch.zeros(len(pool), dtype=torch.long)
    chosen = class_balanced_subset(chosen, share, settings.seed)
    labelled = torch.zeros(len(data), dtype=torch.bool)
    labelled[pool[chosen]] = True
    method.calibrate(data.batch(pool[:64])["image"])

    def prepare(batch: Batch) -> Batch:
        index = batch["index"]
        batch["labelled"] = labelled[index.cpu()].to(index.device)
        if not config.augment:
            return batch
        # fit has seeded torch for this step
        return augment(batch, seqmt_affine(len(index), config.augment), "border")

    options = {"schedule": cosine(steps, config.warm_up), "betas": config.betas}
    options |= {"prepare": prepare, "before": lambda step: wait(method, step / steps)}
    # Images without landmarks come on top, as many as with.
    if share < 1 and (config.weight_equivariance or config.weight_class):
        options["batch_size"] = 2 * config.batch_size
        return (pool[chosen], pool[~chosen]), options
    return pool[chosen], options


def _lmdis(method: Lmdis, data: Images, pool: Tensor, steps: int, settings: Settings):
    return pool, {
        "schedule": lambda step: method.rate(step, steps),
        "before": lambda step: method.advance(step / steps),
    }


def _dve(method: Dve, data: Images, pool: Tensor, steps: int, settings: Settings):
    config = method.config
    if config.pairs == "flow" and "flow" not in data.batch(pool[:1]):
        raise ValueError(
            f"{', '.join(settings.data)}: has no pairs of images with flow, which this "
            "preset needs; choose another, or add --set pairs=warps"
        )

    def begin_exchange(step: int) -> None:
        warm = step < config.warm_up * steps
        method.auxiliaries = 0 if warm else config.auxiliaries

    return pool, {
        "batch_size": config.batch_size + config.pool,
        "amsgrad": True,
        "schedule": constant_then_decay(steps, config.decay),
        "before": begin_exchange,
    }
