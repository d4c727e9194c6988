"""Real trainings of a small network on a few rendered scenes."""

import json

import numpy as np
import pytest
import torch

from nasdepth.architecture import Architecture
from nasdepth.errors import CheckpointError, DivergedError, NasdepthError
from nasdepth.metrics import si_rmse
from nasdepth.models import build
from nasdepth.training import PROXY, RETRAIN, Recipe, load_model, read_checkpoint, train, validate
from nasdepth.training.augment import photometric, training_batch
from nasdepth.training.loop import _set_learning_rate

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)
RECIPE = Recipe(
    epochs=4, batch_size=4, crops=((480, 640), (384, 512)), loss_hw=(60, 80), gradient_scales=2, warmup=0.3
)
CPU = torch.device("cpu")


def network(architecture: Architecture = SMALL, seed: int = 0):
    torch.manual_seed(seed)
    return build(architecture)


@pytest.fixture(scope="module")
def few(scenes):
    return scenes.subset(range(8))


def states_equal(first, second) -> bool:
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def without_seconds(history):
    return [(one.epoch, one.loss, one.si_rmse) for one in history]


@pytest.mark.parametrize("interrupted_after", [1, 2])
def test_a_resumed_training_ends_bitwise_where_a_straight_one_ends(few, tmp_path, interrupted_after):
    straight = network()
    expected = train(straight, few, RECIPE, validation=few.subset([0]), device=CPU)
    checkpoint = tmp_path / "checkpoint.pt"

    def interrupt(epoch):
        if epoch.epoch + 1 == interrupted_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network(), few, RECIPE, validation=few.subset([0]), checkpoint=checkpoint, on_epoch=interrupt,
              device=CPU)  # fmt: skip
    assert len(json.loads(read_checkpoint(checkpoint)["history"])) == interrupted_after
    torch.manual_seed(99)  # nothing may depend on the process's generator
    np.random.seed(99)
    resumed = network(seed=7)
    steps = []
    history = train(resumed, few, RECIPE, validation=few.subset([0]), checkpoint=checkpoint, device=CPU,
                    on_step=steps.append)  # fmt: skip
    assert states_equal(straight, resumed)
    assert without_seconds(history) == without_seconds(expected)
    assert len(steps) == (4 - interrupted_after) * 2
    assert states_equal(straight, load_model(checkpoint))


def test_a_finished_training_is_not_repeated(few, tmp_path):
    recipe = RECIPE.with_(epochs=1)
    first = train(network(), few, recipe, checkpoint=tmp_path / "c.pt", device=CPU)
    again = train(network(seed=3), few, recipe, checkpoint=tmp_path / "c.pt", device=CPU,
                  on_step=lambda _: pytest.fail("trained again"))  # fmt: skip
    assert again == first


def test_seeds_decide(few):
    recipe = RECIPE.with_(epochs=1)
    losses = [train(network(), few, recipe, seed=seed, device=CPU)[0].loss for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_training_beats_a_constant_prediction(few):
    net = network()
    recipe = Recipe(
        epochs=30, batch_size=2, crops=((480, 640),), loss_hw=(60, 80), learning_rate=5e-3, photometric=0,
        flip=False,
    )  # fmt: skip
    history = train(net, few, recipe, device=CPU)
    _, depth_mm = few.batch(np.arange(8))
    constant = si_rmse(np.full(depth_mm.shape, 3000.0), depth_mm).mean()
    assert validate(net, few, device=CPU).mean() < 0.7 * constant
    assert history[-1].loss < 0.5 * history[0].loss


def test_the_starting_scale_is_the_median_depth(few):
    net = network()
    train(net, few, RECIPE.with_(epochs=1, learning_rate=1e-9), device=CPU)
    _, depth_mm = few.batch(np.arange(8))
    assert net.scale_mm.item() == pytest.approx(np.median(depth_mm[depth_mm > 1]), rel=0.05)


def test_validation_is_the_metric_of_the_prediction(few):
    net = network().eval()
    rgb, depth_mm = few.batch(np.arange(8))
    with torch.no_grad():
        pred = net(torch.from_numpy(rgb).permute(0, 3, 1, 2).float())[:, 0].numpy()
    assert validate(net, few, device=CPU) == pytest.approx(si_rmse(pred, depth_mm), rel=1e-4)


def test_evaluating_in_between_does_not_change_the_training(few):
    recipe = RECIPE.with_(epochs=2)
    plain, watched = network(), network()
    train(plain, few, recipe, device=CPU)
    train(watched, few, recipe, validation=few.subset([1]), device=CPU)
    assert states_equal(plain, watched)


def test_divergence_is_said_and_the_last_good_checkpoint_stays(few, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    net = network()

    def poison(epoch):
        if epoch.epoch == 1:
            net.head.weight.data.fill_(float("nan"))

    with pytest.raises(DivergedError, match=r"nan at epoch 3, step 1.*checkpoint\.pt holds the last good"):
        train(net, few, RECIPE, checkpoint=checkpoint, on_epoch=poison, device=CPU)
    kept = load_model(checkpoint)
    assert all(tensor.isfinite().all() for tensor in kept.state_dict().values())
    assert len(json.loads(read_checkpoint(checkpoint)["history"])) == 2


@pytest.mark.parametrize("steps", [2, 1])
def test_an_absurd_learning_rate_diverges(few, steps):
    """Also where it is the last step before the validation that breaks the network."""
    recipe = RECIPE.with_(learning_rate=1e30, epochs=1, batch_size=8 // steps)
    with pytest.raises(DivergedError, match=r"lower the learning rate \(1e\+30\)"):
        train(network(), few, recipe, validation=few.subset([0]), device=CPU)


@pytest.fixture(scope="module")
def trained(few, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "checkpoint.pt"
    train(network(), few, RECIPE.with_(epochs=1), checkpoint=path, device=CPU)
    return path


def test_a_checkpoint_gives_the_network_back(trained):
    net = load_model(trained)
    assert net.architecture == SMALL and not net.training


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "flipped", "a pickle", "another format"])
def test_a_damaged_checkpoint_is_named(trained, tmp_path, damage, few):
    content = trained.read_bytes()
    path = tmp_path / "checkpoint.pt"
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(b"not a checkpoint at all" * 100)
        case "flipped":
            path.write_bytes(content[:100] + bytes(byte ^ 255 for byte in content[100:400]) + content[400:])
        case "a pickle":
            torch.save({"format": "nasdepth-checkpoint-1", "evil": print}, path)
        case "another format":
            torch.save({"model": {}}, path)
    for read in (load_model, lambda p: train(network(), few, RECIPE, checkpoint=p, device=CPU)):
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt: "):
            read(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pt: no such checkpoint"):
        load_model(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("recipe", "another recipe"),
        ("seed", "another seed"),
        ("data", "another data"),
        ("architecture", "not 64x128"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(trained, few, change, words):
    before = trained.read_bytes()
    net = network(
        Architecture.parse(str(SMALL).replace("64x96", "64x128")) if change == "architecture" else SMALL
    )
    recipe = RECIPE.with_(epochs=1, learning_rate=1e-3) if change == "recipe" else RECIPE.with_(epochs=1)
    split = few.subset([3, 2, 1, 0, 4, 5, 6, 7]) if change == "data" else few
    with pytest.raises(CheckpointError, match=words):
        train(net, split, recipe, seed=5 if change == "seed" else 0, checkpoint=trained, device=CPU)
    assert trained.read_bytes() == before


@pytest.mark.parametrize("schedule", ["one_cycle", "poly"])
def test_the_learning_rate_rises_falls_and_keeps_the_ratio(schedule):
    recipe = RETRAIN.with_(schedule=schedule, warmup=0.2, learning_rate=0.01)
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": [w], "ratio": r} for w, r in zip(weights, (0.3, 1.0), strict=True)], lr=1
    )
    rates = []
    for step in range(100):
        _set_learning_rate(optimizer, recipe, step, 100)
        slow, fast = (group["lr"] for group in optimizer.param_groups)
        assert slow == pytest.approx(0.3 * fast)
        rates.append(fast)
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.01) and 19 <= peak <= 20
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 0.0005


def test_batches_keep_image_and_depth_together(few):
    """Crops and flips move both alike: a bright column stays where its depth is."""

    class Marked:
        def batch(self, indices):
            rgb = np.zeros((len(indices), 480, 640, 3), np.uint8)
            depth = np.zeros((len(indices), 480, 640), np.uint16)
            ramp = np.arange(640)
            rgb[:] = (ramp // 4)[None, None, :, None]
            depth[:] = 1000 + ramp[None, None, :]
            depth[:, :48] = 0
            return rgb, depth

    recipe = Recipe(crops=((240, 320),), loss_hw=(240, 320))
    flipped = set()
    for seed in range(6):
        rgb, depth = training_batch(Marked(), np.arange(3), recipe, np.random.default_rng(seed))
        assert rgb.shape == (3, 3, 240, 320) and depth.shape == (3, 1, 240, 320)
        for image, truth in zip(rgb, depth, strict=True):
            known = truth[0] > 0
            assert torch.equal(image[0][known], ((truth[0] - 1000) // 4)[known])
            assert set(truth[0][known].int().tolist()) <= set(range(1000, 1640))  # nothing blended
            row = truth[0][-1]
            flipped.add(bool(row[0] > row[-1]))
    assert flipped == {True, False}


def test_colour_changes_stay_in_range_and_can_be_off():
    rgb = torch.rand(4, 3, 8, 8) * 255
    assert photometric(rgb, 0.0, np.random.default_rng(0)) is rgb
    changed = photometric(rgb, 0.4, np.random.default_rng(0))
    assert changed.min() >= 0 and changed.max() <= 255 and changed.dtype == torch.float32
    assert not torch.allclose(changed, rgb, atol=5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("learning_rate", 0),
        ("encoder_lr_ratio", 2),
        ("warmup", 1.0),
        ("schedule", "cosine"),
        ("crops", ((16, 640),)),
        ("gradient_scales", 0),
        ("sig_variance", 1.2),
        ("epoch", 3),
    ],
)
def test_recipe_errors_name_field_and_value(field, value):
    with pytest.raises(NasdepthError, match=f"recipe field {field}.*value: ") as error:
        PROXY.with_(**{field: value})
    shown = 16 if field == "crops" else value
    assert repr(shown) in str(error.value)


def test_a_recipe_has_a_fingerprint_of_every_field():
    assert PROXY.fingerprint == PROXY.with_().fingerprint
    prints = {PROXY.with_(**change).fingerprint for change in (
        {"epochs": 9}, {"flip": False}, {"crops": ((480, 640),)}, {"weight_decay": 0.0}, {"loss_hw": (60, 80)}
    )}  # fmt: skip
    assert len(prints | {PROXY.fingerprint}) == 6
