import numpy as np
import pytest
from PIL import Image

from nasdepth.data import open_split
from nasdepth.data.inspect import contact_sheet, describe
from nasdepth.errors import DataError

NAMES = ("a", "b")


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array) if path.suffix == ".npy" else Image.fromarray(array).save(path)


@pytest.fixture
def make(tmp_path):
    """A folder of photographs and values; every image is in the training split."""

    def make(values, rgb="rgb", target="disparity", suffix=".png", mask=None, name="relative"):
        root = tmp_path / name
        for stem in NAMES:
            write(root / rgb / f"{stem}.jpg", np.zeros((*values.shape[:2], 3), np.uint8))
            write(root / target / f"{stem}{suffix}", values)
            if mask is not None:
                write(root / "mask" / f"{stem}.png", mask)
        (root / "train.txt").write_text("a\nb\n")
        return root

    return make


def load(root):
    return open_split(f"relative:{root}", "train", progress=False)


def block(values, row, column, size=10):
    """What became of one source pixel of a 48x64 image."""
    return values[row * size : (row + 1) * size, column * size : (column + 1) * size]


RAMP = np.arange(48 * 64).reshape(48, 64)


@pytest.mark.parametrize(
    ("rgb", "target", "space"),
    [("rgb", "disparity", "disparity"), ("rgb", "relative_depth", "depth"), ("Imgs", "RDs", "disparity")],
)
def test_folders_tell_the_space(make, rgb, target, space):
    root = make((RAMP % 251).astype(np.uint8), rgb, target)
    split = load(root)
    assert split.space == space and split.kind == "relative"
    assert open_split(root, "train", progress=False).fingerprint == split.fingerprint, "not recognised"


def test_values_keep_their_order_and_ratios_of_differences(make):
    values = (RAMP * 20 + 7).astype(np.uint16)
    values[0, :5] = 0
    stored = load(make(values)).value_view(0)
    assert (block(stored, 0, 2) == 0).all()
    assert stored[stored > 0].min() == 1 and stored.max() == 65535
    kept = np.array([block(stored, r, c)[5, 5] for r in range(48) for c in range(64)], float)[5:]
    expected = values.ravel()[5:].astype(float)
    slope = (kept[-1] - kept[0]) / (expected[-1] - expected[0])
    assert np.abs(kept - kept[0] - slope * (expected - expected[0])).max() <= 1


def test_what_is_unknown(make):
    floats = RAMP / 100 - 9.0  # below 0 as well: a shift is free
    floats[3, 4], floats[3, 5] = np.nan, np.inf
    stored = load(make(floats, suffix=".npy")).value_view(0)
    assert (block(stored, 3, 4) == 0).all() and (block(stored, 3, 5) == 0).all()
    assert (stored > 0).mean() == pytest.approx(1 - 2 / 3072)
    mask = np.full((48, 64), 255, np.uint8)
    mask[:, :32] = 0
    values = (RAMP % 251).astype(np.uint8)
    stored = load(make(values, mask=mask, name="masked")).value_view(0)
    assert (stored[:, :320] == 0).all() and (stored[:, 320:] > 0).all(), "0 is a value where masks decide"


def test_it_is_described_and_shown_with_near_bright(make, tmp_path):
    values = np.tile(np.linspace(1, 255, 64).astype(np.uint8), (48, 1))
    for target, brighter in (("disparity", 1), ("relative_depth", -1)):
        split = load(make(values, target=target, name=f"with_{target}"))
        facts = describe(split)
        assert facts["supervision"] == "relative" and facts["unknown_share"]["all"] == 0
        assert facts["deviation_of_range"] == pytest.approx(1 / 12**0.5, rel=0.05)
        contact_sheet(split, tmp_path / "sheet.png", rows=1, columns=1)
        row = np.asarray(Image.open(tmp_path / "sheet.png"))[80, 213:].sum(axis=1).astype(int)
        assert (row[-20] - row[20]) * brighter > 100


MISTAKES = {
    "colour": (dict(values=np.zeros((48, 64, 3), np.uint8)), r"disparity/a.png: is RGB, an 8 or 16-bit grey"),
    "unknown": (dict(values=np.zeros((48, 64), np.uint8)), r"disparity/a.png: every pixel is unknown"),
    "flat": (dict(values=np.full((48, 64), 7, np.uint8)), r"disparity/a.png: every known pixel is 7"),
    "three axes": (dict(values=np.zeros((48, 64, 1)), suffix=".npy"), r"a.npy: is float64 \(48, 64, 1\)"),
    "mask of another size": (
        dict(values=RAMP.astype(np.uint16), mask=np.ones((24, 32), np.uint8)),
        r"mask/a.png: is 32x24 but a.png is 64x48",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(make, mistake):
    arguments, message = MISTAKES[mistake]
    with pytest.raises(DataError, match=message):
        load(make(**arguments))


def test_sizes_missing_masks_and_missing_values_are_named(make):
    root = make(RAMP.astype(np.uint16), mask=np.ones((48, 64), np.uint8))
    write(root / "disparity" / "b.png", np.ones((24, 32), np.uint16))
    with pytest.raises(DataError, match=r"disparity/b.png: is 32x24 but b.jpg is 64x48"):
        load(root)
    (root / "mask" / "b.png").unlink()
    with pytest.raises(DataError, match=r"mask/b.png: no such mask"):
        load(root)
    (root / "disparity" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 RGB images have no disparity(?s:.*)rgb/b.jpg"):
        load(root)
    with pytest.raises(DataError, match=r"is no relative depth"):
        load(root / "rgb")
    with pytest.raises(DataError, match=r"relative has no option @x"):
        load(f"{root}@x")
