"""The average of a network's weights, against its recursion written out."""

import pytest
import torch
from torch import nn

from nasdepth.training.ema import Ema


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_every_weight_and_buffer_follows_the_recursion():
    net = network()
    ema = Ema(net, 0.5)
    expected = {name: one.clone() for name, one in net.state_dict().items()}
    assert not ema.model.training and not any(one.requires_grad for one in ema.model.parameters())
    for step in range(8):
        net(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        ema.update(step)
        # 1/10, 2/11, ... and, from step 8 on, the decay itself
        decay = min(0.5, (1 + step) / (10 + step))
        for name, now in net.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * now if now.is_floating_point() else now
    for name, average in ema.model.state_dict().items():
        torch.testing.assert_close(average, expected[name], msg=name)
    assert ema.model[1].num_batches_tracked == 8
    assert not torch.equal(ema.model[1].running_mean, net[1].running_mean)


def test_it_goes_on_from_a_loaded_state():
    first, second = network(), network()
    one, two = Ema(first, 0.9), Ema(second, 0.9)
    with torch.no_grad():
        for parameter in [*first.parameters(), *second.parameters()]:
            parameter.fill_(2.0)
    one.update(0)
    two.model.load_state_dict(one.model.state_dict())
    one.update(1)
    two.update(1)
    assert torch.equal(one.model[0].weight, two.model[0].weight)
    assert one.model[0].weight.mean().item() == pytest.approx(2, abs=0.1)
