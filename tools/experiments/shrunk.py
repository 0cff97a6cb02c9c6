"""Is it the faces or the finest pixels? A 64x64 generator's pictures, shrunk to 32x32, against reals of 32x32.

usage: shrunk.py [GENERATOR]
"""
import sys, torch, torch.nn.functional as F
from progrow.checkpoint import load_generator
from progrow.data import image_pyramid
from progrow.features import feature_network
from progrow.images import to_uint8
from progrow.metrics import Sides, _two_heaps, evaluators
from progrow.swd import sliced_wasserstein
from progrow.train import sample_images

torch.set_num_threads(1)
G,images = load_generator(sys.argv[1] if sys.argv[1:] else 'runs/shipped/generator.pt'),image_pyramid('avatars', 64)
small = to_uint8(F.avg_pool2d(sample_images(G, 2048, seed=0), 2))
sides = Sides(_two_heaps(images, 32, 2048, 0)[0], small.numpy(), feature_network('lite0'), progress=False)
swd = sliced_wasserstein(torch.tensor(images.level(32)[:2048]), small, min_resolution=8)
print({**evaluators['fd'][0](sides), **evaluators['pr'][0](sides)}, swd)
