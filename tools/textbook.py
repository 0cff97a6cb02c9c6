"""The networks as the pages define them: each rule a line of its own, nothing melted together. `tests/test_networks.py` proves both equal."""
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from unittest import mock
import torch, torch.nn.functional as F
from progrow import minibatch_stddev, networks, pixelnorm
from progrow.equalized import Equalized
from progrow.fade_in import downsample, upsample

def deviation(x, group_size):
    s = (x.reshape(group_size, len(x)//group_size, -1).var(0, correction=0)+1e-8).sqrt().mean(1)
    return torch.cat([x, s.repeat(group_size).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])], 1)

@contextmanager
def textbook():
    "Within it, the networks compute as the text says"
    with ExitStack() as stack:
        def put(owner, **functions): stack.enter_context(mock.patch.multiple(owner, **functions))
        put(Equalized, scaled=lambda layer, x: (x, layer.scaled_weight))
        put(pixelnorm, _LeakyReLU=SimpleNamespace(apply=partial(F.leaky_relu, negative_slope=0.2))) # wherever it is used
        put(networks, paint=lambda z, dense: torch.einsum('nc,ocij->noij', z, dense.scaled_weight),
            upsample_conv2d=lambda x, w, b: F.conv2d(upsample(x), w, b, padding=1),
            conv2d_downsample=lambda x, w, b: downsample(F.conv2d(x, w, b, padding=1)))
        put(minibatch_stddev, minibatch_stddev=deviation)
        yield
