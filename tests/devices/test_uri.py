"""Device URIs and what is wrong with them."""

import pytest

from nasdepth.devices import open_device, parse_uri, register_device
from nasdepth.devices.kinds import KINDS
from nasdepth.errors import DeviceError


def test_settings_are_read():
    local = parse_uri("local?threads=2&cores=1,0")
    assert (local.kind, local.threads, local.cores, local.gpu) == ("local", 2, (0, 1), False)
    assert parse_uri("local-gpu?icd=/a%20b.json").icd == "/a b.json" and parse_uri("local-gpu").gpu
    board = parse_uri("ssh://pi@Board:2222?threads=4&python=/opt/py&gpu=true&retry=5")
    assert (board.user, board.host, board.port, board.threads) == ("pi", "Board", 2222, 4)
    assert (board.python, board.gpu, board.retry_seconds) == ("/opt/py", True, 5.0)
    plain = parse_uri("ssh://board")
    assert (plain.user, plain.port, plain.threads, plain.python) == (None, None, None, "python3")
    assert parse_uri("ssh://pi@[::1]:22").host == "::1"
    assert parse_uri("adb").host == parse_uri("adb:").host == ""
    phone = parse_uri("adb://192.168.1.5:5555?gpu=true&xnnpack=false")
    assert (phone.host, phone.gpu, phone.xnnpack) == ("192.168.1.5:5555", True, False)


def test_threads_are_said_once():
    assert parse_uri("local").with_threads(None).threads == 1
    assert parse_uri("local").with_threads(3).threads == 3
    assert parse_uri("local?threads=3").with_threads(None).threads == 3
    assert parse_uri("local?threads=3").with_threads(3).threads == 3
    with pytest.raises(DeviceError, match=r"threads=3, but 2 were asked for"):
        parse_uri("local?threads=3").with_threads(2)


@pytest.mark.parametrize(
    "uri, words",
    [
        ("toaster", r"'toaster'.*use 'local' or another of: .*ssh://user@host"),
        ("local?speed=9", r"local has no option 'speed'; it has threads, cores"),
        ("local?threads=0", r"threads='0'; expected a whole number from 1"),
        ("local?threads=many", r"threads='many'; expected a whole number"),
        ("local?threads", r"threads=''; expected"),
        ("local?threads=1&threads=2", r"option threads is given twice"),
        ("local?cores=0,0", r"cores='0,0'; expected CPU numbers"),
        ("local?cores=-1", r"cores='-1'; expected CPU numbers"),
        ("local:7", r"'local' takes no address"),
        ("local-gpu?gpu=true", r"local-gpu has no option 'gpu'"),
        ("ssh:board", r"expected ssh://user@host"),
        ("ssh://", r"expected ssh://user@host"),
        ("ssh://pi@board/home", r"expected ssh://user@host"),
        ("ssh://pi@board:99999", r"port is no number from 1 to 65535"),
        ("ssh://board?retry=soon", r"retry='soon'; expected seconds"),
        ("ssh://board?config=/no/such/file", r"config='/no/such/file'; expected an ssh configuration file"),
        ("ssh://board?gpu=maybe", r"gpu='maybe'; expected true or false"),
        ("adb:/phone", r"expected adb or adb://serial"),
        ("adb?binary=/no/such/file", r"binary='/no/such/file'; expected TFLite's benchmark_model"),
    ],
)
def test_what_is_wrong_is_named(uri, words):
    with pytest.raises(DeviceError, match=words):
        parse_uri(uri)


def test_passwords_are_refused_and_not_repeated():
    with pytest.raises(DeviceError, match=r"no passwords in URIs.*ssh-copy-id") as caught:
        parse_uri("ssh://pi:raspberry@board")
    assert ":raspberry" not in str(caught.value)


def test_a_registered_kind_is_opened_by_its_uri():
    @register_device("fpga", summary="fpga://HOST, an FPGA", address="needed", options=("threads", "bits"))
    def opened(setting):
        return setting

    try:
        board = open_device("fpga://lab-3?bits=v%202&threads=2")
        assert (board.kind, board.host, board.threads, board.own) == ("fpga", "lab-3", 2, {"bits": "v 2"})
        assert open_device("fpga://lab-3").threads == 1 and hash(board)
        for uri, words in [
            ("fpga", "expected fpga://HOST, an FPGA"),
            ("fpga://", "expected fpga://HOST"),
            ("fpga:lab-3", "expected fpga://HOST"),
            ("fpga://a?bits=1&bits=2", "option bits is given twice"),
            ("fpga://a?bits", "bits=''; expected a value"),
            ("fpga://a?cores=1", "fpga has no option 'cores'; it has threads, bits"),
            ("phone", "fpga://HOST, an FPGA"),
        ]:
            with pytest.raises(DeviceError, match=words):
                open_device(uri)
        with pytest.raises(ValueError, match=r"'fpga' is registered already, by .*opened"):
            register_device("fpga", summary="another")(parse_uri)
    finally:
        del KINDS["fpga"]
    with pytest.raises(ValueError, match="letters, digits and hyphens"):
        register_device("a://b", summary="no name")
