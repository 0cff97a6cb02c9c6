"What many tests use: closeness, sizes, made-up images. Runs are in `runs`, golden files in `golden_files`."
from math import inf
from pathlib import Path
import numpy as np, torch, torch.nn.functional as F
from PIL import Image
from scipy.ndimage import zoom

root = Path(__file__).parents[1]

def close(a, b, atol=1e-6, rtol=0.): torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=atol, rtol=rtol)

def same(a, b):
    "Equal to the last bit, and of the same types; a NaN equals a NaN"
    if type(a) is not type(b): return False
    if isinstance(a, torch.Tensor): return a.dtype==b.dtype and torch.equal(*(o.nan_to_num(7, inf, -inf) for o in (a, b))) and torch.equal(a.isnan(), b.isnan())
    if isinstance(a, dict): return list(a)==list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list,tuple)): return len(a)==len(b) and all(map(same, a, b))
    return a==b

def count(net):
    "Numbers that a network learns"
    return sum(p.numel() for p in net.parameters())

def shrink(x, r):
    "Images at a smaller resolution"
    return F.avg_pool2d(x, x.shape[-1]//r)

def norms(loss, params):
    "Length of the loss's gradient in each parameter; 0 where it has none"
    return torch.stack([torch.zeros(()) if g is None else g.norm() for g in torch.autograd.grad(loss, params, allow_unused=True)])

def unit(x): return x/x.norm(dim=-1, keepdim=True)

# --- images as bytes, (n, c, r, r)

def random_bytes(n, r=16, c=3, seed=0): return np.random.default_rng(seed).integers(0, 256, (n,c,r,r), dtype=np.uint8)

def noise(n=10, c=3, r=32, seed=0): return random_bytes(n, r, c, seed) # a small data set
def picture(x):
    "Pillow's image of a (c, r, r) array of bytes"
    return Image.fromarray(x[0] if len(x)==1 else x.transpose(1, 2, 0))

# the sets of the golden metrics
def noise_set(seed): return np.random.RandomState(seed).randint(0, 256, (512,3,64,64)).astype(np.uint8)
def smooth_set(seed, shift=0, contrast=60):
    r = np.random.RandomState(seed)
    x = zoom(r.randn(512,3,4,4).astype(np.float32), (1,1,16,16), order=1, mode='nearest', grid_mode=True)*contrast+128+shift
    return np.rint(x + (r.randn(512,3,64,64)*8).astype(np.float32)).clip(0, 255).astype(np.uint8)
