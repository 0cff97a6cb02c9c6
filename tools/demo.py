"""Grow pictures from 4x4 to 32x32 on this machine, and measure them: what `make demo` runs.

usage: demo.py [FOLDER [IMAGES [NAME=VALUE ...]]]

Leaves pictures, the generator and the measured numbers in FOLDER (runs/demo if not given). IMAGES is anything that
`progressive_learner` takes (the built-in faces if not given), and NAME=VALUE its other arguments.
A run that was stopped goes on where it stood; a finished one is not repeated. Delete FOLDER to run it again.
"""
import ast, sys, time
from pathlib import Path
import torch
from fastai.callback.core import Callback
from progrow.callbacks import read_log
from progrow.images import enlarge, to_uint8
from progrow.metrics import sliced_wasserstein
from progrow.train import progressive_learner, sample_images
import results

N = 2048 # pictures on each side of a comparison, or half of the set

class StageEnds(Callback):
    "Keep the pictures that the generator draws at the end of each resolution, for the comparison afterwards"
    order = 59
    def __init__(self): self.samples = {}
    def after_epoch(self):
        now,then = self.state,self.schedule.next_batch(self.images_seen)
        if now.alpha==1 and (then.resolution>now.resolution or self.images_seen>=self.schedule.total_images):
            self.samples[str(now.resolution)] = to_uint8(self.learn.sample(min(N, len(self.learn.images)//2), seed=1, resolution=now.resolution)).cpu()
    def state_dict(self): return self.samples # what a checkpoint keeps
    def load_state_dict(self, state): self.samples = state

def main(out, images='avatars', **kwargs):
    done = out/'results.json'
    asked = [Path(images).name, kwargs]
    if res := results.read(done):
        if res['asked']!=asked: sys.exit(f"{out} holds a run on {res['asked']}: name another folder, or delete it")
        return report(out, res)
    print(f'Growing {images} from 4x4. At first it prepares the pictures to learn from; then a bar tells how long it takes.', flush=True)
    begun = time.time()
    ends = StageEnds()
    learn = progressive_learner(images, cbs=[ends], **kwargs)
    drawn,top,n = time.time(),learn.schedule.resolution,min(N, len(learn.images)//2)
    reals = [torch.tensor(learn.images.level(top)[i*n:(i+1)*n]) for i in range(2)]
    untrained = sample_images(learn.model.averaged, n, seed=1)
    learn.fit_in(out, minutes=1)
    def swd(x): return {str(k):round(v, 2) for k,v in sliced_wasserstein(reals[0], x, min_resolution=8).items()}
    m = learn.model
    settings = dict(loss=repr(learn.gan_loss), schedule=repr(learn.schedule), generator=m.generator.config, discriminator=m.discriminator.config,
                    average_kimg=learn.weight_average.half_life_kimg, seed=learn.seed, n=len(learn.images), n_swd=n)
    seconds = dict(pictures=round(drawn-begun), training=round(read_log(out).seconds.sum()))
    stages = {f'{r}x{r} stage': swd(enlarge(x, top)) for r,x in ends.samples.items()}
    here = dict(threads=torch.get_num_threads(), device=str(learn.dls.device))
    res = results.write(done, settings, ('fastai','dicebear-styles'), here, asked=asked, seconds=seconds, images_seen=learn.images_seen,
                        swd=dict(untrained=swd(untrained), **stages, floor=swd(reals[1])))
    report(out, res)

def report(out, res):
    s = res['seconds']
    print(f"\n{res['images_seen']} images in {s['training']/60:.1f} minutes, after {s['pictures']} seconds for the pictures to learn from.")
    print('Sliced Wasserstein distance to the reals (mean of the levels; lower is better):')
    for k,v in res['swd'].items(): print(f"  {'reals against reals' if k=='floor' else k:22}{v['mean']:8.1f}")
    print(f"Look at {out/'strip.png'} (one row per resolution), {out/'samples.png'} and {out/'losses.png'}.\nThe generator is in {out/'generator.pt'}: progrow.train.load_generator reads it.")

def value(s):
    "A number where it reads as one, else the text"
    try: return ast.literal_eval(s)
    except (ValueError, SyntaxError): return s

if __name__=='__main__':
    args = sys.argv[1:] or ['runs/demo']
    main(Path(args[0]), *args[1:2], **{k:value(v) for k,v in (a.split('=', 1) for a in args[2:])})
