"""Retraining on data of every supervision, to the file that is deployed and its metrics."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import nasdepth
from nasdepth.architecture import Architecture
from nasdepth.data import Mixture, Portion, open_split
from nasdepth.data.diw import write_diw
from nasdepth.deploy import evaluate, evaluate_tflite
from nasdepth.errors import CheckpointError, DataError, NasdepthError, UnknownKernelError
from nasdepth.metrics import DepthMetrics, RelativeMetrics, si_rmse
from nasdepth.searching import open_labels, open_training, retrain
from nasdepth.searching.retraining import METRICS, Retraining
from nasdepth.training import load_model, load_recipe
from nasdepth.training.distill import teacher_fingerprint

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k1-w8,up-nearest-bilinear"
)
QUICK = {"epochs": 1, "batch_size": 4, "steps_per_epoch": 2, "loss_hw": [48, 64], "pretrained": False}


def run(data, test, recipe, folder, **options):
    return retrain(SMALL, data, test, recipe, folder, None, None, **options)


@pytest.fixture(scope="module")
def pairs(scenes, test_scenes, tmp_path_factory):
    """The built-in scenes as ordinal pairs, in DIW's format."""
    root = tmp_path_factory.mktemp("diw")
    write_diw(scenes.subset(range(8)), root, "train", pairs=20)
    write_diw(test_scenes, root, "test", pairs=20)
    return root


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of six frames that shifts by two pixels a frame."""
    root = tmp_path_factory.mktemp("video") / "scene"
    root.mkdir()
    wide = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    for number in range(6):
        Image.fromarray(wide[:, 2 * number : 2 * number + 80]).save(root / f"{number}.png")
    (root / "cam.txt").write_text("80 0 40 0 80 30 0 0 1")
    (root.parent / "train.txt").write_text("scene\n")
    return root.parent


def test_a_mixture_of_metric_depth_and_pairs(scenes, test_scenes, pairs, tmp_path):
    recipe = load_recipe("default", QUICK | {
        "loss.ranking.weight": 0.1, f"mixture.diw:{pairs}": 1.0, "early_stop_epochs": 2, "batch_size": 2,
    })  # fmt: skip
    mixture, validation = open_training("scenes:24+6", recipe, seed=3)
    first, second = (portion.split for portion in mixture.portions)
    assert (first.kind, second.kind) == ("metric", "ordinal") and mixture.seed == 3
    assert len(first) + len(validation) == len(scenes) and mixture.steps_per_epoch == 2
    assert not set(first.image_ids) & set(validation.image_ids)
    heard = []
    result = run(mixture, test_scenes, recipe, tmp_path, validation=validation, on_epoch=heard.append)
    assert set(heard[0].terms) >= {"sig", "gradient", "ranking"} and heard[0].si_rmse > 0
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert set(result.metrics) == {"si_rmse", "rmse_m", "log10", "rel"} and not result.median_scaled
    written = json.loads((tmp_path / "result.json").read_text())
    assert written.pop("data") == test_scenes.fingerprint
    assert written == {"schema": "nasdepth-retrained-1"} | json.loads(json.dumps(result.to_row()))
    assert written["whdr"] is None and written["score"] is None and set(METRICS) <= set(written)
    assert (tmp_path / "log.csv").is_file() and list((tmp_path / "samples").glob("*.jpg"))

    # it is the network in the checkpoint that was deployed and scored
    model = load_model(tmp_path / "checkpoint.pt")
    rgb, depth_mm = test_scenes.batch(np.arange(len(test_scenes)))
    with torch.no_grad():
        pred_mm = model(torch.from_numpy(rgb).permute(0, 3, 1, 2).float())[:, 0].numpy()
    assert result.metrics["si_rmse"] == pytest.approx(si_rmse(pred_mm, depth_mm).mean(), abs=1e-4)


@pytest.mark.slow
def test_pairs_alone_are_scored_by_whdr(pairs, tmp_path):
    recipe = load_recipe("samsung-diw", QUICK).without_teacher().with_(intermediate=None)
    data, test = (open_split(f"diw:{pairs}", name) for name in ("train", "test"))
    result = run(data, test, recipe, tmp_path)
    assert set(result.metrics) == {"whdr", "pairs"} and result.metrics["pairs"] == 6 * 20
    assert 0 < result.metrics["whdr"] < 1 and result.score is None


@pytest.mark.slow
def test_video_is_scored_up_to_scale_or_not_at_all(video, test_scenes, tmp_path):
    changes = {"intermediate": None, "pose": {"encoder": "resnet18", "width": 0.25, "pretrained": False}}
    recipe = load_recipe("monodepth2", QUICK | changes)
    data = open_split(f"video:{video}", "train")
    scaled = run(data, test_scenes, recipe, tmp_path / "a")
    assert scaled.median_scaled and scaled.metrics["rel"] < 1
    alone = run(data, None, recipe, tmp_path / "b")
    assert alone.metrics == {} and json.loads((tmp_path / "b/result.json").read_text())["data"] is None


@pytest.mark.slow
def test_video_with_labels(video, tmp_path):
    for number in range(6):
        path = tmp_path / "labels" / "scene" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.indices((60, 80)).sum(0) // 40).astype(np.uint8)).save(path)
    changes = {"intermediate": None, "pose": {"encoder": "resnet18", "width": 0.25, "pretrained": False}}
    recipe = load_recipe("xdistill", QUICK | changes)
    mixture, _ = open_training(f"video:{video}", recipe)
    extras = open_labels(tmp_path / "labels", recipe, mixture)
    heard = []
    run(mixture, None, recipe, tmp_path / "run", extras=extras, on_epoch=heard.append)
    assert heard[0].terms["segmentation"] > 0
    with pytest.raises(NasdepthError, match="needs `labels`"):
        open_labels(None, recipe, mixture)
    with pytest.raises(NasdepthError, match=r"loss\.segmentation\.classes=N"):
        open_labels(tmp_path / "labels", load_recipe("monodepth2"), mixture)


@pytest.mark.slow
def test_a_student_learns_from_a_checkpoint_and_goes_on_in_a_second_stage(scenes, test_scenes, tmp_path):
    few = scenes.subset(range(4))
    plain = load_recipe("default", QUICK)
    run(few, test_scenes, plain, tmp_path / "teacher")
    teacher = tmp_path / "teacher" / "checkpoint.pt"
    recipe = plain.with_(**{
        "teacher.model": str(teacher), "teacher.start_from": str(teacher), "epochs": 1,
        "loss.distill_output.weight": 1, "loss.distill_affinity.layers": ["encoder8"],
    })  # fmt: skip
    heard = []
    result = run(few, test_scenes, recipe, tmp_path / "student", on_epoch=heard.append)
    assert {"distill_output", "distill_affinity"} <= set(heard[0].terms)
    assert "second stage" in result.start
    assert teacher_fingerprint(load_model(teacher)) != teacher_fingerprint(
        load_model(tmp_path / "student" / "checkpoint.pt")
    )
    other = replace(SMALL, input_height=96)
    with pytest.raises(CheckpointError, match=r"start_from.*96x96"):
        retrain(other, few, test_scenes, recipe, tmp_path / "other", None, None)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_network_of_lower_precision_is_scored_beside_its_float_file(
    precision, scenes, test_scenes, tmp_path
):
    recipe = load_recipe("default", QUICK)
    result = run(scenes, test_scenes, recipe, tmp_path, precision=precision, calibration_images=10)
    assert result.model == tmp_path / f"model-{precision}.tflite" and result.precision == precision
    plain = tmp_path / "model.tflite"
    assert result.model.stat().st_size < plain.stat().st_size
    assert result.metrics == evaluate_tflite(result.model, test_scenes).compute()
    assert result.float_si_rmse == evaluate_tflite(plain, test_scenes).compute()["si_rmse"]
    assert result.metrics["si_rmse"] == pytest.approx(result.float_si_rmse, abs=0.02)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["precision"] == precision and written["float_si_rmse"] == result.float_si_rmse
    assert 0 <= written["si_rmse_against_float"] < 0.05


def test_a_precision_that_cannot_be_is_refused_before_the_training(tmp_path, table_file):
    recipe = load_recipe("default", QUICK)
    options = {"data": "scenes:24+6", "table": str(table_file)}
    small = Architecture.parse("64x64,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w8,up-nearest-nearest")
    with pytest.raises(UnknownKernelError, match="int8"):
        # the table was built for a space in float32, and has not one kernel of the kind
        Retraining([small], recipe, tmp_path, precision="int8", **options)
    with pytest.raises(DataError, match="`calibration_images` is 3"):
        nasdepth.export(small, tmp_path / "x.tflite", precision="int8", calibration="scenes:24+6",
                        calibration_images=3)  # fmt: skip
    with pytest.raises(NasdepthError, match="`precision` is 'int4'; it must be one of float32, fp16, int8"):
        nasdepth.open_retraining(small, precision="int4")
    assert not list(tmp_path.iterdir())


def test_a_recipe_is_stored_with_the_run_that_it_began(scenes, test_scenes, tmp_path):
    """Another run's attempt to take over the folder changes nothing in it."""
    (tmp_path / "checkpoint.pt").write_bytes(b"of another run")
    (tmp_path / "recipe.yaml").write_text("of another run")
    with pytest.raises(CheckpointError):
        run(scenes.subset(range(4)), test_scenes, load_recipe("default", QUICK), tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == "of another run"


def test_every_supervision_has_its_metrics(scenes, test_scenes, pairs, video, tmp_path):
    """A prediction that is the truth, to scale, on each kind of test data."""
    hw = (480, 640)
    truth = {rgb.tobytes(): depth for rgb, depth in zip(*test_scenes.batch(range(6)), strict=True)}

    def tripled(rgb):
        return np.stack([np.where(truth[one.tobytes()] > 1, 3.0 * truth[one.tobytes()], 1) for one in rgb])

    plain = evaluate(tripled, hw, test_scenes).compute()
    assert plain["si_rmse"] == pytest.approx(0, abs=1e-6) and plain["rel"] == pytest.approx(2)
    scaled = evaluate(tripled, hw, test_scenes, median_scaled=True).compute()
    assert all(value == pytest.approx(0, abs=1e-6) for value in scaled.values())

    ordinal = open_split(f"diw:{pairs}", "test")
    shapes = []

    def constant(rgb):
        shapes.append(rgb.shape[1:3])
        return np.ones(rgb.shape[:3])

    assert evaluate(constant, hw, ordinal).compute()["whdr"] > 0.5  # a tie is no order
    assert set(shapes) == {hw}
    with pytest.raises(DataError, match="is video, without depth"):
        evaluate(constant, hw, open_split(f"video:{video}", "train"))


def test_median_scaling_is_per_image():
    target = np.random.default_rng(0).integers(500, 5000, (2, 8, 8)).astype(np.float64)
    target[0, :2] = 0
    metrics = DepthMetrics(median_scaled=True)
    metrics.update(target * np.array([0.1, 7.0])[:, None, None] + (target == 0), target)
    assert max(metrics.compute().values()) < 1e-12
    metrics.update(np.ones((1, 8, 8)), np.zeros((1, 8, 8)))
    assert max(metrics.compute().values()) < 1e-12
    relative = RelativeMetrics("depth")
    relative.update(target + 1, target)
    assert relative.compute()["aligned_rmse"] < 1e-9


def test_a_mixture_keeps_its_sources_names(pairs):
    recipe = load_recipe("default", QUICK | {f"mixture.diw:{pairs}": "0.5"})
    mixture, validation = open_training("scenes:24+6", recipe)
    assert validation is None and isinstance(mixture, Mixture)
    assert [(one.name, one.weight) for one in mixture.portions] == [
        ("scenes:24+6", 1.0), (f"diw:{pairs}", 0.5)
    ]  # fmt: skip
    assert all(isinstance(one, Portion) for one in mixture.portions)
