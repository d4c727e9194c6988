import json

import numpy as np
import pytest
from PIL import Image

from nasdepth.data import load_folder, load_scenes
from nasdepth.data.inspect import contact_sheet, depth_colors, describe, write_folder
from nasdepth.errors import DataError


@pytest.fixture
def few():
    return load_scenes("test", 4, progress=False)


def test_describe_agrees_with_numpy(few):
    facts = json.loads(json.dumps(describe(few)))
    depth = few.depth_mm
    known = depth[depth > 0]
    assert facts["images"] == 4 and (facts["height"], facts["width"]) == (480, 640)
    assert facts["depth_mm"]["min"] == known.min() and facts["depth_mm"]["max"] == known.max()
    assert facts["depth_mm"]["p50"] == pytest.approx(np.median(known), abs=1)
    assert facts["unknown_share"]["all"] == pytest.approx((depth == 0).mean())
    assert facts["unknown_share"]["most"] == pytest.approx((depth == 0).mean(axis=(1, 2)).max())
    assert sum(b["share"] for b in facts["histogram"]) == pytest.approx(1)
    spread = np.mean([np.log(image[image > 1]).std() for image in depth])
    assert facts["si_rmse"]["constant"] == pytest.approx(spread, rel=1e-4)


def test_contact_sheet(few, tmp_path):
    contact_sheet(few, tmp_path / "sheet.png", rows=2, columns=3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 160, 3 * 2 * 213, 3)
    assert sheet[:160, :213].std() > 10 and (sheet[160:, 2 * 213 :] == 255).all()


def test_unknown_is_black_and_near_is_bright():
    colors = depth_colors(np.array([[0, 500, 9000]], dtype=np.uint16)).sum(axis=2)[0]
    assert colors[0] == 0 and colors[1] > colors[2] > 0
    assert not depth_colors(np.zeros((2, 2), np.uint16)).any()


def test_a_written_folder_reads_back(few, tmp_path):
    for split in ("train", "test"):
        write_folder(few, tmp_path / "out" / split)
    back = load_folder(tmp_path / "out", "test", progress=False)
    order = [back.image_ids.index(name) for name in few.image_ids]
    assert np.array_equal(back.depth_mm[order], few.depth_mm)
    assert np.abs(back.rgb[order].astype(int) - few.rgb).mean() < 4
    with pytest.raises(DataError, match="already holds files"):
        write_folder(few, tmp_path / "out" / "test")
