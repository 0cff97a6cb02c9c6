"""Grow cartoon faces from 4x4 to 32x32 on this machine: what `make demo` runs.

Leaves pictures, the generator and the measured numbers in a folder (runs/demo, or the first argument).
A finished run is not repeated; delete the folder to run it again.
"""
import json, os, platform, sys, time
from importlib.metadata import version
from pathlib import Path
import torch
from fastai.callback.core import Callback
from progrow.metrics import sliced_wasserstein
from progrow.train import progressive_learner, sample_images

N = 2048 # pictures on each side of a comparison

class StageEnds(Callback):
    "Keep the pictures that the generator draws at the end of each resolution, for the comparison afterwards"
    order = 59
    def before_fit(self): self.samples = {}
    def after_epoch(self):
        r = self.state.resolution
        if self.state.alpha==1: self.samples[r] = self.learn.sample(N, seed=1, resolution=r)

def enlarge(x, r): return x.repeat_interleave(r//x.shape[-1], 2).repeat_interleave(r//x.shape[-1], 3)

def main(out):
    done = out/'results.json'
    if done.exists(): return report(out, json.loads(done.read_text()))
    print('Growing faces from 4x4 to 32x32. The first minute draws the pictures to learn from; then the bar tells how long it takes.', flush=True)
    begun = time.time()
    learn = progressive_learner(cbs=[StageEnds()])
    drawn,top = time.time(),learn.schedule.resolution
    reals = [torch.tensor(learn.images.level(top)[i*N:(i+1)*N]) for i in range(2)]
    untrained = sample_images(learn.model.averaged, N, seed=1)
    learn.fit()
    trained = time.time()
    learn.save_results(out)
    def swd(x): return {str(k):round(v, 2) for k,v in sliced_wasserstein(reals[0], x, min_resolution=8).items()}
    res = dict(seconds=dict(pictures=round(drawn-begun), training=round(trained-drawn)), images_seen=learn.images_seen,
        swd=dict(untrained=swd(untrained), **{f'{r}x{r} stage':swd(enlarge(x, top)) for r,x in learn.stage_ends.samples.items()}, floor=swd(reals[1])),
        settings=dict(loss=repr(learn.gan_loss), schedule=repr(learn.schedule), generator=learn.model.generator.config, discriminator=learn.model.discriminator.config,
                      average_kimg=learn.weight_average.half_life_kimg, seed=learn.seed, images=learn.images.source, n=len(learn.images), n_swd=N),
        machine=dict(cores=os.cpu_count(), threads=torch.get_num_threads(), device=str(learn.dls.device), processor=platform.machine()),
        versions={p:version(p) for p in ('progrow','torch','fastai','dicebear-styles')})
    part = out/'results.json.part'
    part.write_text(json.dumps(res, indent=1)+'\n'); os.replace(part, done)
    report(out, res)

def report(out, res):
    s = res['seconds']
    print(f"\n{res['images_seen']} images in {s['training']/60:.1f} minutes, after {s['pictures']} seconds for the pictures to learn from.")
    print('Sliced Wasserstein distance to the reals (mean of the levels; lower is better):')
    for k,v in res['swd'].items(): print(f"  {'reals against reals' if k=='floor' else k:22}{v['mean']:8.1f}")
    print(f"Look at {out/'strip.png'} (one row per resolution), {out/'samples.png'} and {out/'losses.png'}.\nThe generator is in {out/'generator.pt'}: progrow.train.load_generator reads it.")

if __name__=='__main__': main(Path(sys.argv[1] if len(sys.argv)>1 else 'runs/demo'))
