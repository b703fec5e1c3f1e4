"""Lists and annotations of data sets, damaged in every way (see ``fuzzing.py``)."""

import json

import numpy as np
import pytest
import torch
from fuzzing import (
    MARKS,
    NUMBERS,
    check_set,
    damaged,
    fuzz,
    holds,
    parse_maps,
    picture,
    put,
)
from hypothesis import strategies as st

from lmlib.datasets.faces import aflw, celeba, mafl, mtfl, read_pts, w300
from lmlib.datasets.fashion import fld
from lmlib.datasets.hands import hgr1, read_points
from lmlib.datasets.triplets import COLUMNS, PARTS, triplets
from lmlib.datasets.tryon import read_pose, viton, viton_hd

pytestmark = pytest.mark.filterwarnings("ignore")  # of what was left out, and Pillow's


# --- lists of faces -------------------------------------------------------------------

FIVE_X, FIVE_Y = "9 20 15 10 19", "12.5 12 18 25.000 25"
MTFL = "\n".join(
    [
        f"lfw_5590\\a.jpg {FIVE_X} {FIVE_Y} 1 2 2 3",
        f" lfw_5590\\two words.jpg {FIVE_X} {FIVE_Y} 2 1 1 5",
        "",
        f"AFLW\\b.jpg {FIVE_X} {FIVE_Y} 1 1 2 1",
    ]
).encode()


@fuzz(damaged(MTFL), st.sampled_from(["face", "squash"]), st.booleans())
def test_mtfl(place, content, crop, partial):
    folder = place / "MTFL"
    for name in ("lfw_5590/a.jpg", "lfw_5590/two words.jpg", "AFLW/b.jpg"):
        if not (folder / name).exists():
            picture(folder / name)
    for listed, reader in (("training.txt", mtfl), ("testing.txt", aflw)):
        (folder / listed).write_bytes(content)
        data = holds(
            lambda reader=reader: reader(folder, size=8, crop=crop, partial=partial),
            folder,
        )
        if data is not None:
            check_set(data)
            inside = folder.resolve()
            assert all(inside in path.resolve().parents for path in data.paths)


def celeba_files():
    names = ["000001.jpg", "000002.jpg", "162771.jpg"]
    rows = "\n".join(f"{name} 69 109 106 113 77 142 73 152 108 154" for name in names)
    flags = " ".join(["1", "-1"] * 20)
    marks = "\n".join(f"{name} {flags}" for name in names)
    heads = " ".join(f"f{k}" for k in range(40))
    return {
        "Anno/list_landmarks_align_celeba.txt": f"3\nlefteye_x lefteye_y\n{rows}\n",
        "Anno/list_attr_celeba.txt": f"3\n{heads}\n{marks}\n",
        "Eval/list_eval_partition.txt": "".join(
            f"{name} {int(name > '1')}\n" for name in names
        ),
        "MAFL/training.txt": "000001.jpg\n162771.jpg\n",
        "MAFL/testing.txt": "000002.jpg\n",
    }


CELEBA = {name: text.encode() for name, text in celeba_files().items()}


@fuzz(
    st.sampled_from(list(CELEBA)).flatmap(
        lambda name: st.tuples(st.just(name), damaged(CELEBA[name]))
    ),
    st.sampled_from(["train", "val", "all", "unlabelled", "mafl train", "mafl test"]),
    st.booleans(),
)
def test_celeba(place, changed, split, partial):
    folder = place / "celeba"
    for name in ("000001.jpg", "000002.jpg", "162771.jpg"):
        if not (folder / "Img/img_align_celeba" / name).exists():
            picture(folder / "Img/img_align_celeba" / name, (89, 109))
    for name, content in {**CELEBA, changed[0]: changed[1]}.items():
        put(folder / name, content)
    reader = mafl if split.startswith("mafl") else celeba
    data = holds(
        lambda: reader(folder, split.split()[-1], 8, crop="face", partial=partial),
        folder,
    )
    if data is not None:
        check_set(data)
        inside = (folder / "Img/img_align_celeba").resolve()
        assert all(inside in path.resolve().parents for path in data.paths)


PTS = "version: 1\nn_points:  68\n{\n"
PTS += "".join(f"{2 + k % 10 * 2.5:.3f} {3 + k // 10 * 4}\n" for k in range(68)) + "}\n"


@fuzz(damaged(PTS.encode()))
def test_pts(place, content):
    folder = place / "300W"
    for part in ("afw", "helen/trainset", "lfpw/trainset"):
        if not (folder / part / "a.jpg").exists():
            picture(folder / part / "a.jpg")
            (folder / part / "a.pts").write_text(PTS)
    path = folder / "afw" / "a.pts"
    path.write_bytes(content)
    points = holds(lambda: read_pts(path), path)
    if points is not None:
        assert len(points) == 68 and np.isfinite(points).all()
    data = holds(lambda: w300(folder, size=8), folder)
    assert (data is None) <= (points is None)
    if data is not None:
        check_set(data)


# --- clothes and people ---------------------------------------------------------------

FLD = {
    "Anno/list_landmarks.txt": b"2\nimage_name clothes_type variation_type ...\n"
    b"img/1.jpg 1 1 0 3 4 1 20 4 0 2 20 2 25 20 0 5 30 0 22 30\n"
    b"img/2.jpg 2 5 0 6 7 0 18 7 0 5 30 1 22 30\n",
    "Eval/list_eval_partition.txt": b"2\nimage_name evaluation_status\n"
    b"img/1.jpg train\nimg/2.jpg train\n",
    "Anno/list_bbox.txt": b"2\nimage_name x_1 y_1 x_2 y_2\n"
    b"img/1.jpg 1 2 25 33\nimg/2.jpg 3 2 27 31\n",
}


@fuzz(
    st.sampled_from(list(FLD)).flatmap(
        lambda name: st.tuples(st.just(name), damaged(FLD[name]))
    ),
    st.sampled_from(["pad", "box"]),
    st.booleans(),
)
def test_fld(place, changed, crop, partial):
    folder = place / "FLD"
    for name in ("img/1.jpg", "img/2.jpg"):
        if not (folder / name).exists():
            picture(folder / name)
    for name, content in {**FLD, changed[0]: changed[1]}.items():
        put(folder / name, content)
    data = holds(lambda: fld(folder, size=8, crop=crop, partial=partial), folder)
    if data is not None:
        check_set(data)


def joints(count, key="pose_keypoints_2d"):
    flat = [value for k in range(count) for value in (3 + k % 9, 4 + k, 0.9 * (k > 2))]
    return json.dumps({"version": 1.1, "people": [{key: flat}]}).encode()


POSES = [joints(18, "pose_keypoints"), joints(25), b'{"people": []}']
JSON = [*NUMBERS, b"null", b"true", b"{}", b"[]", b'"a"', b"[" * 5000, b"NaN",
        b"Infinity", b'{"people":', b"1e999", b'"\\ud800"', *MARKS]  # fmt: skip


@fuzz(damaged(*POSES, tokens=JSON))
def test_poses(place, content):
    path = place / "a_keypoints.json"
    path.write_bytes(content)
    found = holds(lambda: read_pose(path), path)
    if found is not None:
        places = torch.tensor(found)
        assert places.shape == (18, 2) and not places.isinf().any()


PAIRS = b"01_00.jpg 01_00.jpg\n02_00.jpg 01_00.jpg\n"


PARSES = parse_maps()


@fuzz(
    st.sampled_from(["list", "pose", "parse"]).flatmap(
        lambda part: st.tuples(
            damaged(PAIRS) if part == "list" else st.just(PAIRS),
            damaged(*POSES, tokens=JSON) if part == "pose" else st.just(POSES[1]),
            damaged(*PARSES) if part == "parse" else st.sampled_from(PARSES),
        )
    ),
    st.booleans(),
    st.booleans(),
    share=0.6,
)
def test_pairs(place, changed, paired, partial):
    content, pose, parse = changed
    root = place / "VITON"
    for part in ("train/image", "train/cloth", "train/cloth-mask"):
        for name in ("01_00.jpg", "02_00.jpg"):
            if not (root / part / name).exists():
                picture(root / part / name)
    parts = {"openpose_json/{}_keypoints.json": pose, "image-parse-v3/{}.png": parse}
    for part, content_of in parts.items():
        for name in ("01_00", "02_00"):
            put(root / "train" / part.format(name), content_of)
    for pf_afn in ("train_img", "train_color"):
        for name in ("01_0.jpg", "01_1.jpg"):
            if not (root / pf_afn / name).exists():
                picture(root / pf_afn / name)
    put(root / "train_pairs.txt", content)
    for reader in (viton, viton_hd):
        data = holds(
            lambda reader=reader: reader(
                root, size=(8, 6), paired=paired, partial=partial
            ),
            root,
        )
        if data is None:
            continue
        inside = root.resolve()
        for paths in data.files.values():
            assert all(inside in path.resolve().parents for path in paths)
        batch = holds(lambda data=data: data.batch(range(1)), root)
        if batch is not None and "pose" in batch:
            assert batch["pose"][batch["visible"]].isfinite().all()
        if batch is not None and "parse" in batch:
            assert 0 <= batch["parse"].min() <= batch["parse"].max() < 256


TRIPLETS = ",".join(COLUMNS) + "\n"
TRIPLETS += "".join(
    f'{name},0,3,4.5,5,6,visible\n"{name}",1,1e1,2, 3,4,occluded\n{name},2,,,,,absent\n'
    for name in "ab"
)


@fuzz(damaged(TRIPLETS.encode()), st.booleans())
def test_triplets(place, content, partial):
    root = place / "mine"
    for part in PARTS.values():
        for name in ("a.jpg", "b.jpg"):
            if not (root / "train" / part / name).exists():
                picture(root / "train" / part / name)
    put(root / "train" / "landmarks.csv", content)
    data = holds(lambda: triplets(root, size=(8, 6), partial=partial), root)
    if data is None:
        return
    inside = root.resolve()
    for paths in data.files.values():
        assert all(inside in path.resolve().parents for path in paths)
    batch = data.batch(range(1))
    assert batch["landmarks"].isfinite().all()
    assert batch["garment_landmarks"].isfinite().all()
    assert 0 <= batch["attribute"].min() <= batch["attribute"].max() <= 2


# --- hands ----------------------------------------------------------------------------

CATEGORIES = ["Wrist", *(f"Finger{k}" for k in range(23)), "Wrist"]
HAND = '<?xml version="1.0"?>\n<IMAGE WIDTH="30" HEIGHT="36">\n<hand>\n'
HAND += "".join(
    f'<FeaturePoint category="{name}" x="{2 + k % 5 * 5}" y="{3 + k // 5 * 6}"/>\n'
    for k, name in enumerate(CATEGORIES)
)
HAND += "</hand>\n<hand/>\n</IMAGE>\n"
ENTITIES = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">'
ENTITIES += "".join(
    f'<!ENTITY d{k} "{f"&d{k - 1};" * 8 if k else "&c;&c;&c;&c;"}">' for k in range(9)
)
XML = "<hand>|</hand>|<hand/>|]]>|<![CDATA[|&a;|encoding='utf-7'|&#0;|&#x10FFFF;|<!--|"
XML += "<FeaturePoint category='a' x='1' y='2'/>|<FeaturePoint category='&d8;' |"
XML += "xmlns:a='b'|<?xml version='1.0' encoding='cp037'?>|" + ENTITIES + "]>"
XML = [*NUMBERS, *MARKS, *(part.encode() for part in XML.split("|"))]


@fuzz(damaged(HAND.encode(), (ENTITIES + "]>" + HAND[21:]).encode(), tokens=XML))
def test_hands(place, content):
    folder = place / "HGR1"
    images = folder / "hgr1_images/original_images"
    points = folder / "hgr1_feature_pts/feature_points"
    points.mkdir(parents=True, exist_ok=True)
    for stem in ("1_P_hgr1_id01_1", "1_P_hgr1_id02_1"):
        if not (images / f"{stem}.jpg").exists():
            picture(images / f"{stem}.jpg")
    put(points / "1_P_hgr1_id01_1.xml", HAND.encode())
    path = put(points / "1_P_hgr1_id02_1.xml", content)
    found = holds(lambda: read_points(path), path)
    if found is not None:
        assert np.isfinite([place for _, place in found.values()]).all()
    data = holds(lambda: hgr1(folder, size=8, crop="hand"), folder)
    if data is not None:
        check_set(data)
