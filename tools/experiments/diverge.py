"""Does growing keep a GAN upright at a learning rate that is too high? The networks of escalation.py, grown from 4x4.

usage: diverge.py [--next] [FILE]

Two losses, two learning rates, three seeds, as many pictures as there: twelve runs of ten seconds on one core. What they
are compared with, the same networks at 16x16 all along, is in escalation.json. Writes FILE
(nbs/assets/evidence/diverge.json) after each run; what is there is not made again. --next makes one run and ends (3: some
are left).
"""
import torch
from copy import copy
from progrow.data import image_pyramid
from escalation import Probe, batch, losses, rates, seeds, steps, top, widths
from trials import arguments, learner, make_rows

shares = dict(stabilize_kimg={4:.2, 8:.2, 16:.4}, fade_kimg={8:.1, 16:.1}) # of all pictures

def settings():
    return dict(resolution=top, steps=steps, batch=batch, seeds=seeds, widths=widths, rates=rates, shares=shares,
                losses={k:repr(v) for k,v in losses.items()})

class Ends(Probe):
    "The same looks, at 16x16, from where it is there; moves of layers are not asked for"
    def after_batch(self):
        if self.state.resolution==top and self.step%10==0: self.points.append(dict(self.look(), alpha=round(self.state.alpha, 3)))

def main(path, once):
    torch.set_num_threads(1)
    images,kimg = image_pyramid('avatars', top),steps*batch/1000
    reals = torch.tensor(images.level(top)[:1024]).float()/127.5-1
    def make(asked):
        probe = Ends(reals, ())
        grown = {k:{r:v*kimg for r,v in o.items()} for k,o in shares.items()}
        learn = learner(images, dict(schedule=dict(**grown, batch_size=batch, learning_rate=rates[asked['rate']]),
            loss=copy(losses[asked['loss']]), average_kimg=0., **widths), seed=asked['seed'], cbs=[probe])
        stopped = None
        with learn.no_bar(), learn.no_logging():
            try: learn.fit()
            except FloatingPointError as e: stopped = str(e)[:100]
        return dict(images=learn.images_seen, cpu_seconds=round(learn.clock.seconds, 1), skipped=learn.skipped,
                    stopped=stopped, points=probe.points)
    wanted = [dict(loss=l, rate=r, seed=s) for r in ('high','healthy') for l in losses for s in seeds]
    return make_rows(path, settings(), wanted, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/diverge.json')
