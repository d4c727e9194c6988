import numpy as np
import pytest
from PIL import Image

from nasdepth.data import open_split
from nasdepth.data.diw import write_diw
from nasdepth.data.inspect import contact_sheet, describe
from nasdepth.errors import DataError
from nasdepth.metrics import pair_disagrees, sample_points

WIDTH, HEIGHT = 50, 30


@pytest.fixture
def diw(tmp_path):
    """The data set as unpacked: images named .thumb, two lines an image, one image named twice."""
    root = tmp_path / "diw"
    rng = np.random.default_rng(1)
    for folder in ("DIW_train_val", "DIW_test"):
        (root / folder).mkdir(parents=True)
        for name in "abc":
            picture = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
            picture.save(root / folder / f"{name}.thumb", format="JPEG")
    (root / "DIW_Annotations").mkdir()
    (root / "DIW_Annotations" / "DIW_train.csv").write_text(
        "./DIW_train_val/a.thumb\n1,1,30,50,>,50,30\n"
        "./DIW_train_val/b.thumb\n10,20,11,20,<,50,30\n"
        "./DIW_train_val/a.thumb\n5,6,7,8,=,50,30\n"
        "./DIW_train_val/c.thumb\n3,4,5,6,>\n7,8,9,10,<\n"
    )
    (root / "DIW_Annotations" / "DIW_test.csv").write_text("./DIW_test/a.thumb\n118,70,257,291,>,500,333\n")
    return root


def write(root, text, name="train"):
    path = root / f"{name}.csv"
    path.write_text(text)
    return path


def load(source, split="train"):
    return open_split(f"diw:{source}", split, progress=False)


def test_pairs_are_read_as_published(diw):
    split = load(diw)
    assert open_split(diw, "train", progress=False).kind == split.kind == "ordinal", "not recognised"
    assert split.image_ids == ["a", "b", "c"] and split.hw == (240, 320)
    assert split.rgb_view(0).shape == (240, 320, 3)
    points, relation = split.pairs(0)
    # counted from 1, at the centres of pixels; > is +1: A is farther
    assert relation.tolist() == [1, 0]
    assert points[0] == pytest.approx([0.5 / 30, 0.5 / 50, 29.5 / 30, 49.5 / 50])
    assert split.pairs(1).relation.tolist() == [-1] and split.pairs(2).relation.tolist() == [1, -1]
    assert split.pairs(2).points[1] == pytest.approx([6.5 / 30, 7.5 / 50, 8.5 / 30, 9.5 / 50])
    assert split.subset([2, 0]).pairs(1).points == pytest.approx(points)


def test_pairs_belong_to_the_fingerprint_and_the_number_can_be_limited(diw):
    before = load(diw)
    path = diw / "DIW_Annotations" / "DIW_train.csv"
    path.write_text(path.read_text().replace("10,20,11,20,<", "10,20,11,20,>"))
    after = load(diw)
    assert after.fingerprint != before.fingerprint and after.pairs(1).relation.tolist() == [1]
    few = load(f"{diw}@2")
    assert len(few) == 2 and set(few.image_ids) < {"a", "b", "c"}
    with pytest.raises(DataError, match=r"@many must be a number"):
        load(f"{diw}@many")


def test_what_is_found_is_described_and_shown(diw, tmp_path):
    split = load(diw)
    facts = describe(split)
    assert facts["supervision"] == "ordinal" and facts["pairs"] == 5
    assert facts["relation"] == {">": 2, "<": 2, "=": 1}
    # (1 > 30), (3 > 5) have the farther point higher; two others the nearer one, and "=" is wrong too
    assert facts["whdr"]["lower_is_nearer"] == pytest.approx(3 / 5)
    contact_sheet(split, tmp_path / "sheet.png", rows=1, columns=3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    # of the first image: A at the top left is farther, so blue; B at the bottom right red
    assert (sheet[0, 213] == (40, 90, 255)).all() and (sheet[159, 425] == (255, 60, 40)).all()


IMAGE = "DIW_train_val/a.thumb\n"
MISTAKES = {
    "outside below": (f"{IMAGE}1,1,31,2,>,50,30\n", r"line 2: y = 31: outside of a.thumb, which has 50x30"),
    "outside right": (f"{IMAGE}1,51,2,2,>,50,30\n", r"line 2: x = 51: outside.*counted from 1 to 50"),
    "counted from 0": (f"{IMAGE}0,1,2,2,>,50,30\n", r"line 2: y = 0: outside"),
    "outside, five fields": (f"{IMAGE}1,1,31,2,>\n", r"line 2: y = 31: outside of a.thumb"),
    "wrong relation": (f"{IMAGE}1,1,2,2,~,50,30\n", r"line 2: relation '~': must be > \(A is farther\)"),
    "relation as a number": (f"{IMAGE}1,1,2,2,1,50,30\n", r"line 2: relation '1'"),
    "six fields": (f"{IMAGE}1,1,2,2,>,50\n", r"line 2: '1,1,2,2,>,50': has 6 values, 5 or 7"),
    "no number": (f"{IMAGE}1,x,2,2,>,50,30\n", r"line 2: 'x': is no whole number"),
    "one point": (f"{IMAGE}4,5,4,5,>,50,30\n", r"line 2: A and B are both y 4, x 5"),
    "two sizes": (
        f"{IMAGE}1,1,2,2,>,50,30\n1,1,2,2,>,60,30\n",
        r"line 3: width,height 60,30: .*50,30 before",
    ),
    "no image": ("gone.thumb\n1,1,2,2,>,50,30\n", r"line 1: gone.thumb: no such image in"),
    "no pair": (f"{IMAGE}DIW_train_val/b.thumb\n1,1,2,2,>\n", r"line 2: a.thumb has no pair"),
    "no pair at the end": (f"{IMAGE}1,1,2,2,>\nDIW_train_val/b.thumb\n", r"line 3: b.thumb has no pair"),
    "pair first": ("1,1,2,2,>,50,30\n", r"line 1: '1,1,2,2,>,50,30': stands before any image"),
    "empty": ("\n", r"is empty"),
    "wrong size": (
        f"{IMAGE}1,1,2,2,>,500,300\n",
        r"line 1: the pairs are for 500x300, but .*a.thumb is 50x30",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(diw, mistake):
    text, message = MISTAKES[mistake]
    path = write(diw, text)
    with pytest.raises(DataError, match=rf"train\.csv: (?s:.*){message}"):
        load(path)


@pytest.mark.parametrize("equal_ratio", [0.0, 0.3])
def test_pairs_drawn_from_depth_agree_with_it(make_folder, tmp_path, equal_ratio):
    metric = open_split(make_folder(names=("a", "b"), sub="train"), "train", progress=False)
    csv = write_diw(metric, tmp_path / "drawn", "train", pairs=60, equal_ratio=equal_ratio, seed=3)
    split = load(csv.parent)
    assert [len(split.pairs(index).relation) for index in (0, 1)] == [60, 60]
    for index in (0, 1):
        depth, (points, relation) = metric.depth_mm[index], split.pairs(index)
        a, b = sample_points(depth, points)
        assert (a > 0).all() and (b > 0).all(), "drawn where depth is unknown"
        assert not pair_disagrees(a, b, relation, equal_ratio).any()
        assert set(relation.tolist()) == ({-1, 1} if equal_ratio == 0 else {-1, 0, 1})
        assert np.abs(split.rgb_view(index).mean() - metric.rgb[index].mean()) < 2
    assert not np.array_equal(split.pairs(0).points, split.pairs(1).points)
    with pytest.raises(DataError, match=r"train\.csv: already exists"):
        write_diw(metric, tmp_path / "drawn", "train")


def test_a_missing_csv_and_a_damaged_image_are_named(diw, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: has no DIW_train.csv or DIW_train_val.csv"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match=r"no such folder or CSV"):
        load(tmp_path / "nowhere")
    (diw / "DIW_train_val" / "b.thumb").write_text("hello")
    with pytest.raises(DataError, match=r"b\.thumb: cannot be read"):
        load(diw)
