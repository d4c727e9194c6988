"""Anchors are read from what people have, and what cannot be read is named."""

import pytest

from nasdepth.devices import DeviceInfo, Measurement
from nasdepth.errors import TableError
from nasdepth.latency import architecture_kernels, tflite_kernels
from nasdepth.models import resolve
from nasdepth.packs import public_kernels, read_anchors, write_anchors
from nasdepth.packs.anchors import read_setting

INFO = DeviceInfo(
    "pi", "BCM2711", "aarch64", 4, 4, "tflite-runtime", "2.14.0", "none", "Linux 6.6", 64, "performance"
)


def _csv(tmp_path, text):
    path = tmp_path / "anchors.csv"
    path.write_text(text)
    return path


def test_every_way_of_naming_a_model(tmp_path, litedepth_file):
    path = _csv(
        tmp_path,
        "model,latency_ms,precision\n"
        "mobilenet-v2-0.5-160,15.2,\n"
        "mobilenet-v2-0.5-160,7.1,int8\n"
        "litedepth,20,\n"
        f'"{resolve("lite0-plain")}",21,float32\n'
        f"{litedepth_file},22,\n",
    )
    anchors = read_anchors(path, "tflite")
    assert [one.latency_ms for one in anchors] == [15.2, 7.1, 20, 21, 22]
    assert [one.precision for one in anchors] == ["float32", "int8", "float32", "float32", "float32"]
    assert anchors[0].family == "mobilenet-v2"
    assert anchors[1].kernels == public_kernels("mobilenet-v2-0.5-160", "tflite", "int8")
    assert anchors[2].kernels == architecture_kernels(resolve("litedepth"), "tflite")
    assert anchors[4].kernels == tflite_kernels(litedepth_file, "tflite")


def test_columns_rows_and_units_can_be_chosen(tmp_path):
    path = _csv(
        tmp_path,
        "model,input_size,runtime,p50_us\n"
        "MobileNetV1 1.0,224,2.5,68000\n"
        "MobileNetV1 1.0,224,2.7,72000\n"
        "no model at all,,2.7,1\n",
    )
    (anchor,) = read_anchors(
        path, "tflite", latency_column="p50_us", size_column="input_size", where={"runtime": ["2.5"]}
    )
    assert anchor.latency_ms == pytest.approx(68)
    assert anchor.kernels == public_kernels("mobilenet-v1-1.0-224")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,latency_ms\nx,1\n", r"line 1: no column 'model'; it has name, latency_ms"),
        ("model,p50_ms\nresnet50,1\n", r"line 1: no column 'latency_ms'"),
        ("model,latency_ms\nresnet50,fast\n", r"line 2: column latency_ms is 'fast'"),
        ("model,latency_ms\nresnet50,-1\n", r"line 2: column latency_ms is '-1'"),
        ("model,latency_ms\nresnet50,1\nmobilenet-v9,1\n", r"line 3: 'mobilenet-v9' is no published network"),
        ("model,latency_ms,precision\nresnet50,1,float8\n", r"line 2: column precision is 'float8'"),
        ("model,latency_ms\n", r"no row"),
    ],
)
def test_what_does_not_read_is_named(tmp_path, text, words):
    with pytest.raises(TableError, match=words):
        read_anchors(_csv(tmp_path, text), "tflite")


def test_what_a_benchmark_writes_is_read_with_its_device(tmp_path, litedepth_file):
    measured = [
        Measurement(litedepth_file, 20.5, 21.0, 20.0, 0.1, 50),
        Measurement(tmp_path / "bad.tflite", error="no such operation"),
    ]
    write_anchors(tmp_path / "mine" / "times.csv", measured, INFO)
    (anchor,) = read_anchors(tmp_path / "mine" / "times.csv", "tflite")
    assert anchor.latency_ms == 20.5
    assert anchor.kernels == tflite_kernels(litedepth_file, "tflite")
    setting = read_setting(tmp_path / "mine" / "times.csv")
    assert setting["soc"] == "BCM2711"
    assert setting["threads"] == "4"
    assert "date" not in setting


def test_rows_of_two_devices_are_refused(tmp_path, litedepth_file):
    write_anchors(tmp_path / "a.csv", [Measurement(litedepth_file, 20.5, 21.0, 20.0, 0.1, 50)], INFO)
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "b.csv").write_text(text + text.splitlines()[1].replace("BCM2711", "BCM2712") + "\n")
    with pytest.raises(TableError, match="column soc is 'BCM2711' and 'BCM2712'"):
        read_setting(tmp_path / "b.csv")
