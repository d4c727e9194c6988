import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nasdepth.architecture import Encoder
from nasdepth.errors import NasdepthError
from nasdepth.families import get_family
from nasdepth.models.encoders import EncoderNet
from nasdepth.training.pose import PoseNet, axis_angle_to_matrix, invert_motion, rigid_motion


def some_vectors(length: float, count: int = 50) -> np.ndarray:
    directions = np.random.default_rng(0).normal(size=(count, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) * length


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 1e-3, 9.99e-3, 1.001e-2, 0.3, 1.0, math.pi, 6.0, 9.0])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_rotation_vectors_become_the_matrices_that_scipy_makes_of_them(angle, dtype, close):
    vectors = some_vectors(angle)
    found = axis_angle_to_matrix(torch.tensor(vectors, dtype=dtype)).double().numpy()
    np.testing.assert_allclose(found, Rotation.from_rotvec(vectors).as_matrix(), atol=close, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.5, 3.0])
def test_the_gradient_of_a_rotation_is_exact_at_rest_too(angle):
    vectors = torch.tensor(some_vectors(angle, 3), requires_grad=True)
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vectors, atol=1e-6)


def test_a_motion_and_its_inverse_cancel():
    rng = np.random.default_rng(1)
    motion = rigid_motion(torch.tensor(rng.normal(size=(4, 3))), torch.tensor(rng.normal(size=(4, 3)) * 900))
    expected = np.linalg.inv(motion.numpy())
    np.testing.assert_allclose(invert_motion(motion).numpy(), expected, atol=1e-9)


def test_a_pose_net_begins_near_rest_and_moves_in_its_unit():
    torch.manual_seed(0)
    net = PoseNet("mobilenetv3_small_minimal", 0.5, unit_mm=3000.0).eval()
    frames = torch.rand(2, 3, 64, 96) * 255
    motion = net(frames, frames.flip(3))
    assert motion.shape == (2, 4, 4) and motion.dtype == torch.float32
    torch.testing.assert_close(motion[:, 3], torch.tensor([[0.0, 0, 0, 1]]).expand(2, 4))
    turned = Rotation.from_matrix(motion[:, :3, :3].detach().double().numpy()).magnitude()
    assert turned.max() < 0.01
    net.unit_mm = 6000.0
    torch.testing.assert_close(net(frames, frames.flip(3))[:, :3, 3], 2 * motion[:, :3, 3])


@pytest.mark.parametrize("family", ["mobilenetv3_small_minimal", "resnet18", "mobileone_s0"])
def test_two_equal_frames_give_the_encoder_what_one_gives(family):
    torch.manual_seed(0)
    one = EncoderNet(Encoder(family, 0.25, len(get_family(family).stages))).eval().double()
    torch.manual_seed(0)
    two = PoseNet(family, 0.25).eval().double().encoder
    rgb = torch.rand(1, 3, 64, 64).double() * 255
    for stride, features in one(rgb).items():
        torch.testing.assert_close(two(torch.cat([rgb, rgb], 1))[stride], features)


def test_an_encoder_that_there_is_not_is_named():
    with pytest.raises(NasdepthError, match="resnet19"):
        PoseNet("resnet19")
