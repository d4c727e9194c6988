"""Tables: round trip, and a clear word for every way of being damaged."""

import datetime
import gzip

import pandas
import pytest
import yaml
from latency_samples import EVERY_OPERATION, table

from nasdepth.errors import NasdepthError, TableError
from nasdepth.latency import LatencyTable, Validation

FIRST, SECOND, THIRD = EVERY_OPERATION[:3]


@pytest.fixture
def saved(tmp_path):
    """A table whose rows can be edited as text."""
    path = table({FIRST: 1.25, SECOND: 0.003}, {THIRD: "no such\nop"}).save(tmp_path)
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    return plain


def test_round_trip(tmp_path):
    validation = Validation(
        models=6,
        mape_percent=3.5,
        bias_percent=-1,
        within_5_percent=50,
        within_10_percent=90,
        within_15_percent=100,
        spearman=0.97,
        interval_90_coverage_percent=90,
        date=datetime.date(2026, 1, 3),
    )
    original = table(dict.fromkeys(EVERY_OPERATION, 0.123456789), validation=validation)
    loaded = LatencyTable.load(original.save(tmp_path))
    assert loaded.card == original.card
    assert list(loaded.timings) == list(EVERY_OPERATION)
    assert loaded.timings[FIRST].latency_ms == pytest.approx(0.123456789, rel=1e-5)
    assert loaded.fingerprint == original.fingerprint
    assert loaded.save(tmp_path / "again").read_bytes() == (tmp_path / "pi-xnnpack-1t.csv.gz").read_bytes()


def test_rows_are_compressed_unless_they_lie_there_uncompressed(saved, tmp_path):
    loaded = LatencyTable.load(saved)
    assert loaded.save(tmp_path) == saved and not saved.with_name(saved.name + ".gz").exists()
    compressed = loaded.save(tmp_path / "other")
    assert compressed.name == "pi-xnnpack-1t.csv.gz"
    assert gzip.decompress(compressed.read_bytes()) == saved.read_bytes()
    for name in ("pi-xnnpack-1t.csv.gz", "pi-xnnpack-1t.csv", "pi-xnnpack-1t.yaml"):
        assert LatencyTable.load(compressed.with_name(name)) == loaded
    assert len(pandas.read_csv(compressed)) == 3


def test_a_cut_off_archive_is_named(saved, tmp_path):
    compressed = LatencyTable.load(saved).save(tmp_path / "other")
    compressed.write_bytes(compressed.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"pi-xnnpack-1t\.csv\.gz: cannot be read"):
        LatencyTable.load(compressed)


def test_a_card_without_rows_is_named(saved):
    saved.unlink()
    with pytest.raises(TableError, match=r"pi-xnnpack-1t\.yaml: is the card of a measured table, but no"):
        LatencyTable.load(saved.with_suffix(".yaml"))


def test_rejected_kernels_survive(saved):
    loaded = LatencyTable.load(saved)
    assert dict(loaded.rejected) == {THIRD: "no such op"}


def test_fingerprint_follows_times_and_card():
    one = table({FIRST: 1.0})
    assert one.fingerprint != table({FIRST: 1.1}).fingerprint
    assert one.fingerprint != table({FIRST: 1.0}, overhead_ms=2.0).fingerprint


def _edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("latency_ms", "lateness", r"line 1.*missing columns \['latency_ms'\]"),
        ("latency_ms", "latency_ms,extra", r"line 1.*unknown columns \['extra'\]"),
        ("1.25,", "-1.25,", r"line 2.*latency_ms is '-1.25'"),
        ("1.25,", "0,", r"line 2.*latency_ms is '0'"),
        ("1.25,", "nan,", r"line 2.*latency_ms is 'nan'"),
        ("1.25,", "quick,", r"line 2.*latency_ms is 'quick'"),
        ("1.25,", "", r"line 2.*cells"),
        ("conv2d,8", "convolve,8", r"line 2.*op is 'convolve'"),
        ("conv2d,8", "conv2d,0", r"line 2.*in_height is '0'"),
        ("relu6", "gelu", r"line 2.*activation is 'gelu'"),
    ],
)
def test_damaged_rows_are_named(saved, old, new, words):
    _edit(saved, old, new)
    with pytest.raises(TableError, match=rf"pi-xnnpack-1t\.csv.*{words}"):
        LatencyTable.load(saved)


def test_cut_off_line(saved):
    saved.write_text(saved.read_text()[:-1])
    with pytest.raises(TableError, match="line 4: the last line is cut off"):
        LatencyTable.load(saved)


def test_lost_rows(saved):
    saved.write_text("".join(saved.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(TableError, match="2 rows, but its card says kernels: 3"):
        LatencyTable.load(saved)


def test_duplicate_kernel(saved):
    lines = saved.read_text().splitlines(keepends=True)
    saved.write_text("".join([*lines, lines[1]]))
    with pytest.raises(TableError, match=r"line 5: .* is there twice"):
        LatencyTable.load(saved)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("schema_version", 7, "schema_version is 7"),
        ("scale", -1, "scale is -1"),
        ("soc", None, "soc is None"),
        ("kind", "guessed", "kind is 'guessed'"),
        ("colour", "red", "colour is 'red'"),
    ],
)
def test_wrong_card_fields_are_named(saved, field, value, words):
    card = saved.with_suffix(".yaml")
    card.write_text(yaml.safe_dump(yaml.safe_load(card.read_text()) | {field: value}))
    with pytest.raises(TableError, match=rf"pi-xnnpack-1t\.yaml: {words}"):
        LatencyTable.load(saved)


def test_missing_or_unreadable_card(saved):
    saved.with_suffix(".yaml").write_text("a: [")
    with pytest.raises(TableError, match="not YAML"):
        LatencyTable.load(saved)
    saved.with_suffix(".yaml").unlink()
    with pytest.raises(TableError, match="device card"):
        LatencyTable.load(saved)


def test_unknown_table():
    with pytest.raises(NasdepthError, match="no-such-table"):
        LatencyTable.load("no-such-table")


def test_merging_keeps_the_first_ones_times():
    one, other = table({FIRST: 1.0}), table({FIRST: 2.0, THIRD: 3.0})
    merged = one.merged(other)
    assert merged.timings[FIRST].latency_ms == 1.0 and merged.timings[THIRD].latency_ms == 3.0
    assert merged.card.kernels == 2 and one.merged(one) == one


def test_a_kernel_that_runs_now_is_no_longer_rejected():
    merged = table({THIRD: 1.0}).merged(table({FIRST: 1.0}, {THIRD: "no such op"}))
    assert not merged.rejected and set(merged.timings) == {FIRST, THIRD}


@pytest.mark.parametrize(("field", "value"), [("threads", 4), ("runtime_version", "2.0"), ("pinned", "0,1")])
def test_tables_of_different_settings_are_not_merged(field, value):
    with pytest.raises(TableError, match=f"measured with {field} .* but table pi-xnnpack-1t has"):
        table({FIRST: 1.0}).merged(table({THIRD: 1.0}, **{field: value}))


def test_a_card_that_does_not_say_which_epyc_may_be_of_any():
    zen5 = "AMD EPYC (family 26, model 2)"
    old = table({FIRST: 1.0}, soc="AMD EPYC")
    assert len(old.merged(table({THIRD: 1.0}, soc=zen5)).timings) == 2
    assert len(table({FIRST: 1.0}, soc=zen5).merged(old).timings) == 1
    with pytest.raises(TableError, match=r"measured with soc 'AMD EPYC \(family 25, model 17\)'"):
        table({FIRST: 1.0}, soc="AMD EPYC (family 25, model 17)").merged(table({THIRD: 1.0}, soc=zen5))
