"""Anchors may be lists of kernels, quantised ones too, and what does not read is named."""

import csv
import gzip
from dataclasses import replace

import pytest

from nasdepth.errors import TableError
from nasdepth.latency import architecture_kernels
from nasdepth.models import resolve
from nasdepth.packs import public_kernels, read_anchors
from nasdepth.packs.kernel_lists import has_kernel_lists, quantised, read_kernel_lists

NETWORKS = {
    "mine-a": public_kernels("mobilenet-v2-0.5-160", "xnnpack"),
    "mine-b": architecture_kernels(resolve("litedepth"), "xnnpack"),
}


def write_lists(path, networks):
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as text:
        rows = [{"model": name} | kernel.to_row() for name, network in networks.items() for kernel in network]
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["kernels.csv", "kernels.csv.gz"])
def test_lists_are_read_as_they_were_written(tmp_path, name):
    path = write_lists(tmp_path / name, NETWORKS)
    assert has_kernel_lists(path)
    assert read_kernel_lists(path) == NETWORKS


def test_the_published_lists_are_read(published):
    networks = read_kernel_lists(published / "rpi4_yolobench.csv.gz")
    assert len(networks) == 726 and sum(map(len, networks.values())) == 192_071
    # boxes and classes at three scales, which no kernel reads
    assert {
        sum(kernel.op == "dequantize" for kernel in quantised(network)) for network in networks.values()
    } == {3}
    assert not has_kernel_lists(published / "gpu_delegate_ops.csv")


def test_a_quantised_network_has_its_image_and_outputs_in_float32():
    network = NETWORKS["mine-b"]
    first, *middle, last = quantised(network)
    assert (first.op, last.op) == ("quantize", "dequantize")
    assert first.output_shape == network[0].input_shape and last.input_shape == network[-1].output_shape
    assert middle == [replace(kernel, precision="int8") for kernel in network]
    assert quantised([first, *middle, last]) == (first, *middle, last)


def test_rows_say_family_group_precision_and_setting(tmp_path):
    path = tmp_path / "anchors.csv"
    path.write_text(
        "model,latency_ms,precision,family,group,setting_sd\n"
        "mine-a,20,,mine,a,\nmine-b,30,int8,,,0.1\nresnet50,400,,,,\n"
    )
    first, second, third = read_anchors(path, "xnnpack", listed=NETWORKS)
    assert (first.kernels, first.family, first.group) == (NETWORKS["mine-a"], "mine", "a")
    assert (first.precision, first.setting_sd) == ("float32", 0)
    assert (second.kernels, second.precision) == (quantised(NETWORKS["mine-b"]), "int8")
    assert (second.family, second.group, second.setting_sd) == ("mine-b", "mine-b", 0.1)
    assert third.kernels == public_kernels("resnet50", "xnnpack")
    quantised_all = read_anchors(path, "xnnpack", listed=NETWORKS, precision="int8")
    assert {one.precision for one in quantised_all} == {"int8"}
    path.write_text("model,latency_ms,setting_sd\nresnet50,400,2\n")
    with pytest.raises(
        TableError, match=r"line 2: column setting_sd is '2'; it must be a fraction of 0 to 1"
    ):
        read_anchors(path, "xnnpack")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("in_height", "height", 1), r"line 1: no column 'in_height'"),
        (lambda text: text.replace("conv2d", "conv3d", 1), r"line 2: column op is 'conv3d'"),
        (lambda text: text + "mine-c,conv2d\n", r"line \d+: 2 cells, not \d+"),
    ],
)
def test_what_does_not_read_is_named(tmp_path, change, words):
    path = write_lists(tmp_path / "kernels.csv", NETWORKS)
    path.write_text(change(path.read_text()))
    with pytest.raises(TableError, match=words):
        read_kernel_lists(path)
    damaged = tmp_path / "kernels.csv.gz"
    damaged.write_bytes(b"no gzip at all")
    with pytest.raises(TableError, match=r"kernels.csv.gz: cannot be read"):
        has_kernel_lists(damaged)
