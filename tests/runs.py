"Runs small enough for tests, and what to compare in them."
import numpy as np, torch
from fastai.callback.core import Callback
from progrow.data import ImagePyramid, pyramid_levels
from progrow.schedule import GrowthSchedule
from progrow.train import progressive_learner

# 26 ticks of one batch each: six at 4x4, then four of fade and six of rest at 8x8 and 16x16
short = GrowthSchedule(16, stabilize_kimg=.096, fade_kimg=.064, batch_size=16, learning_rate={4:.001, 8:.002})
shorter = GrowthSchedule(8, stabilize_kimg=.096, fade_kimg=.064, batch_size=16, learning_rate={4:.001, 8:.002}) # the first 16 of them

# 64 steps, of two in a tick: 24 at 4x4, 16 of fade and 24 of rest at 8x8
fine = GrowthSchedule(8, stabilize_kimg=.096, fade_kimg=.064, batch_size=4, learning_rate={4:.001, 8:.002})
long = dict(schedule=fine, latent_dim=6, fmap_base=32, fmap_max=8, average_kimg=.05, seed=3, device='cpu')

def noise(n=64, channels=3, resolution=16, labels=None):
    x = np.random.default_rng(0).integers(0, 256, (n,channels,resolution,resolution), dtype=np.uint8)
    return ImagePyramid(pyramid_levels(x), labels)

def tiny(images=None, schedule=short, **kwargs):
    kwargs = {**dict(latent_dim=6, fmap_base=32, fmap_max=8, average_kimg=.05, seed=3, device='cpu'), **kwargs}
    return progressive_learner(images or noise(), schedule=schedule, **kwargs)

def fit(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit(*args, **kwargs)
    return learn

def weights(learn): return {k:v.clone() for k,v in learn.model.state_dict().items() if isinstance(v, torch.Tensor)}
def adam(learn): return {n: {k:v.clone() for k,v in learn.opt.opt.state[p].items()} for n,p in learn.model.named_parameters() if p in learn.opt.opt.state}

def left(learn):
    "All that a run has come to: weights, average, Adam's state and the losses of every step, by name"
    adam = {f'adam.{n}.{k}':v for n,p in learn.model.named_parameters() for k,v in learn.opt.opt.state.get(p, {}).items()}
    losses = torch.tensor([r[2:] for r in learn.history.rows], dtype=torch.float64)
    return {k:v.detach().clone() for k,v in {**learn.model.state_dict(), **adam, 'losses':losses}.items() if isinstance(v, torch.Tensor)}

def moved(before, after): return {k.split('.')[0] for k in before if not torch.equal(before[k], after[k])}

class StopAt(Callback):
    "Raise an error the n-th time that an event happens"
    def __init__(self, event, n, error, order=0): setattr(self, event, self.hit); self.n,self.error,self.order = n,error,order
    def hit(self):
        self.n -= 1
        if self.n==0: raise self.error

class SaveAt(Callback):
    "Save between two steps; at the end of a tick, when it is closed"
    order = 95
    def __init__(self, folder, at): self.folder,self.at = folder,at
    def after_batch(self):
        if self.iter+1<self.n_iter: self.after_epoch()
    def after_epoch(self):
        if self.images_seen in self.at: self.learn.save_checkpoint(self.folder, keep=100)
