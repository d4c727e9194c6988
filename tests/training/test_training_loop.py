"""Real trainings of a small network on a few rendered scenes."""

import json

import numpy as np
import pytest
import torch

from nasdepth.architecture import Architecture
from nasdepth.data import Mixture, Portion
from nasdepth.errors import CheckpointError, DivergedError, NasdepthError
from nasdepth.metrics import si_rmse
from nasdepth.models import build
from nasdepth.training import Recipe, load_model, read_checkpoint, train, validate
from nasdepth.training.augment import NO_AUGMENTATION
from nasdepth.training.losses import LossTerm, sig_loss
from nasdepth.training.losses.registry import _TERMS, register_term

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)
RECIPE = Recipe(
    epochs=4,
    batch_size=4,
    loss_hw=(60, 80),
    loss={"sig": {}, "gradient": {"weight": 0.5, "scales": 2}},
    schedule={"warmup": 0.3},
    augmentation={"crops": ((480, 640), (384, 512))},
)
# whatever a training can carry from one step to the next
EVERYTHING = RECIPE.with_(
    ema_decay=0.9,
    early_stop_epochs=3,
    balance={"kind": "dynamic"},
    intermediate={"weights": (0.7, 0.3)},
    **{"loss.virtual_normal.horizontal_fov_deg": 60, "augmentation.rotation_degrees": 5},
)
REBALANCED = RECIPE.with_(balance={"kind": "rebalance", "updates_per_epoch": 1}, **{"optimizer.name": "adam"})
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


class Interrupted(Exception):
    pass


def interrupt_after(epochs, steps):
    """Callbacks that stop a training after so many epochs and then so many steps."""

    def on_epoch(epoch):
        if not steps and epoch.epoch + 1 == epochs:
            raise Interrupted

    def on_step(report):
        if (report.epoch, report.step + 1) == (epochs, steps):
            raise Interrupted

    return {"on_epoch": on_epoch, "on_step": on_step}


@pytest.mark.parametrize(
    ("recipe", "mixed", "epochs", "steps"),
    [
        (RECIPE, False, 1, 0),
        (EVERYTHING, True, 2, 0),
        (EVERYTHING, False, 2, 1),
        (REBALANCED, True, 3, 1),
        (RECIPE, False, 0, 1),
    ],
    ids=["plain", "everything", "within an epoch", "rebalanced", "before the first checkpoint"],
)
def test_a_resumed_training_ends_bitwise_where_a_straight_one_ends(
    few, test_scenes, tmp_path, recipe, mixed, epochs, steps
):
    data = few
    if mixed:
        data = Mixture([Portion(few, 2), Portion(test_scenes, 1, "more")], 4, seed=3, steps_per_epoch=2)
    options = {"validation": few.subset([0]), "device": CPU}
    straight = network()
    expected = train(straight, data, recipe, **options)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Interrupted):
        train(network(), data, recipe, checkpoint=checkpoint, **options, **interrupt_after(epochs, steps))
    assert checkpoint.exists() == (epochs > 0)
    if epochs:
        assert len(json.loads(read_checkpoint(checkpoint)["history"])) == epochs
    torch.manual_seed(99)  # nothing may depend on the process's generator
    np.random.seed(99)
    resumed = network(seed=7 if epochs else 0)
    steps_seen = []
    history = train(resumed, data, recipe, checkpoint=checkpoint, on_step=steps_seen.append, **options)
    assert states_equal(straight, resumed)
    assert without_seconds(history) == without_seconds(expected)
    assert [(one.terms, one.weights) for one in history] == [(one.terms, one.weights) for one in expected]
    assert len(steps_seen) == (4 - epochs) * 2
    assert states_equal(straight, load_model(checkpoint))


def test_a_training_leaves_the_process_its_random_numbers(few):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    net = build(SMALL)
    torch.manual_seed(5)
    train(net, few, EVERYTHING.with_(epochs=1, early_stop_epochs=None), device=CPU)
    assert torch.equal(torch.rand(3), expected)


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
        epochs=30, batch_size=2, loss_hw=(60, 80), optimizer={"learning_rate": 5e-3}, ema_decay=0.99,
        augmentation=NO_AUGMENTATION,
    )  # fmt: skip
    history = train(net, few, recipe, device=CPU)
    _, depth_mm = few.batch(np.arange(8))
    constant = si_rmse(np.full(depth_mm.shape, 3000.0), depth_mm).mean()
    assert validate(net, few, device=CPU).mean() < 0.7 * constant
    assert history[-1].loss < 0.5 * history[0].loss


def test_the_starting_scale_is_the_median_depth(few):
    net = network()
    train(net, few, RECIPE.with_(epochs=1, **{"optimizer.learning_rate": 1e-9}), device=CPU)
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

    with pytest.raises(
        DivergedError,
        match=r"loss\.sig is nan .* at epoch 3, step 1; lower.*pt holds the last good epoch \(2\)",
    ):
        train(net, few, RECIPE, checkpoint=checkpoint, on_epoch=poison, device=CPU)
    kept = load_model(checkpoint)
    assert all(tensor.isfinite().all() for tensor in kept.state_dict().values())
    assert len(json.loads(read_checkpoint(checkpoint)["history"])) == 2


@pytest.mark.parametrize("steps", [2, 1])
def test_an_absurd_learning_rate_diverges(few, steps):
    """Also where it is the last step before the validation that breaks the network."""
    recipe = RECIPE.with_(epochs=1, batch_size=8 // steps, **{"optimizer.learning_rate": 1e30})
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
    recipe = RECIPE.with_(epochs=1, gradient_clip=2.0) if change == "recipe" else RECIPE.with_(epochs=1)
    split = few.subset([3, 2, 1, 0, 4, 5, 6, 7]) if change == "data" else few
    with pytest.raises(CheckpointError, match=words):
        train(net, split, recipe, seed=5 if change == "seed" else 0, checkpoint=trained, device=CPU)
    assert trained.read_bytes() == before


def test_a_term_that_breaks_is_named_and_no_step_is_taken_by_it(few):
    """One term overflows at the third step of the second epoch's worth of data; the others are fine."""

    class Overflowing(LossTerm):
        @property
        def needs(self):
            return frozenset({"target_mm", "mask"})

        def value(self, inputs, modules):
            calls.append(None)
            loss = sig_loss(inputs.pred_mm, inputs.target_mm, inputs.mask, 0.85)
            return loss * (float("inf") if len(calls) == 3 else 1.0)

    calls, states = [], []
    register_term("overflowing")(Overflowing)
    try:
        net = network()
        recipe = RECIPE.with_(loss={"sig": {}, "overflowing": {}})
        with pytest.raises(DivergedError, match=r"^loss\.overflowing is inf at epoch 2, step 1; lower"):
            train(net, few, recipe, device=CPU, on_epoch=lambda _: states.append(clone(net)))
    finally:
        del _TERMS["overflowing"]
    # the weights; statistics of batch normalisation move with the forward pass
    assert all(torch.equal(one, states[0][name]) for name, one in net.named_parameters())


def clone(net):
    return {name: one.clone() for name, one in net.state_dict().items()}


def test_it_stops_early_and_keeps_the_best_epoch(few, tmp_path):
    """A rate that rises until it harms: the best epoch is neither the first nor the last."""
    recipe = RECIPE.with_(
        epochs=30, early_stop_epochs=2, **{"optimizer.learning_rate": 0.5, "schedule.warmup": 0.9}
    )
    net, seen = network(), []
    options = {"validation": few.subset([0, 3]), "checkpoint": tmp_path / "c.pt", "device": CPU}
    history = train(net, few, recipe, on_epoch=lambda _: seen.append(clone(net)), **options)
    scores = [one.si_rmse for one in history]
    best = scores.index(min(scores))
    assert len(history) < 30 and best == len(history) - 3 and best > 0
    assert all(torch.equal(one, seen[best][name]) for name, one in net.state_dict().items())
    assert validate(net, options["validation"], device=CPU).mean() == pytest.approx(min(scores))
    assert states_equal(net, load_model(tmp_path / "c.pt"))
    again = network(seed=4)
    stopped = train(again, few, recipe, on_step=lambda _: pytest.fail("went on"), **options)
    assert stopped == history and states_equal(again, net)


def test_early_stop_needs_images_to_judge_by(few):
    with pytest.raises(
        NasdepthError, match=r"early_stop_epochs: no validation .*\(value: 2\); hold some out"
    ):
        train(network(), few, RECIPE.with_(early_stop_epochs=2), device=CPU)


def test_the_average_is_what_is_judged_kept_and_saved(few, tmp_path):
    recipe = RECIPE.with_(epochs=3, ema_decay=0.9)
    raw, averaged = network(), network()
    train(raw, few, RECIPE.with_(epochs=3), device=CPU)
    states = []
    history = train(
        averaged, few, recipe, validation=few.subset([0]), checkpoint=tmp_path / "c.pt", device=CPU,
        on_epoch=lambda _: states.append(clone(averaged)),
    )  # fmt: skip
    assert all(torch.equal(one, states[-1][name]) for name, one in raw.state_dict().items())
    assert not torch.equal(averaged.head.weight, raw.head.weight)
    assert validate(averaged, few.subset([0]), device=CPU).mean() == history[-1].si_rmse
    assert states_equal(averaged, load_model(tmp_path / "c.pt"))


def test_a_trained_network_keeps_its_scale(few):
    net = network()
    net.scale_mm.fill_(1234.0)
    train(net, few, RECIPE.with_(epochs=1), device=CPU)
    assert net.scale_mm.item() == 1234.0


def test_the_loss_weights_and_norms_of_every_epoch_are_reported(few):
    history = train(network(), few, EVERYTHING.with_(early_stop_epochs=None, epochs=2), device=CPU)
    for epoch in history:
        assert set(epoch.terms) == {"sig", "gradient", "virtual_normal", "gradient norm"}
        assert set(epoch.weights) == {"sig", "gradient", "virtual_normal"}
        assert 0 <= epoch.data_seconds < epoch.seconds and epoch.learning_rate > 0
    assert history[0].weights != history[1].weights
