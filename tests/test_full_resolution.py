"""The official networks take real training steps at 1024x1024, from picture files. Slow (minutes, 4 GB), so only with PROGROW_SLOW=1.
`python tests/test_full_resolution.py results.json` writes what was measured; the page of `progrow.cost` shows it."""
import json, os, platform, subprocess, sys, tempfile, time
from pathlib import Path
import pytest

slow = pytest.mark.skipif(os.environ.get('PROGROW_SLOW')!='1' or not os.access('/proc/self/clear_refs', os.W_OK), reason='takes minutes and 4 GB: set PROGROW_SLOW=1 (on Linux)')

def write_pictures(folder, n=2, side=1024):
    "PNG files: a waving pattern and some noise"
    import numpy as np
    from PIL import Image
    x,y = np.mgrid[:side,:side]/side
    for i in range(n):
        p = np.stack([np.sin(20*(i+1)*x+c)+np.cos((9+c)*y) for c in range(3)], -1)*50+127
        p = p+np.random.default_rng(i).normal(0, 8, p.shape)
        Image.fromarray(p.clip(0, 255).astype('uint8')).save(folder/f'{i}.png')

def memory(name): return next(1024*int(o.split()[1]) for o in open('/proc/self/status') if o.startswith(name)) # bytes
def forget_peak(): Path('/proc/self/clear_refs').write_text('5')

def measure(folder, steps=2):
    "Train, and return what it took"
    import torch
    from fastai.callback.core import Callback
    from progrow.cost import step_cost, weights_memory
    from progrow.schedule import GrowthSchedule
    from progrow.train import progressive_learner

    class Watch(Callback):
        "Time and peak memory of each step, and of the samples that are drawn after it"
        order = 1000
        def before_fit(self): self.wall,self.cpu,self.losses,self.steps,self.samples = [],[],[],[],[]
        def before_batch(self): forget_peak(); self.begun = time.perf_counter(),time.process_time()
        def after_epoch(self): self.samples.append(memory('VmHWM'))
        def after_batch(self):
            self.wall.append(time.perf_counter()-self.begun[0]); self.cpu.append(time.process_time()-self.begun[1]); self.steps.append(memory('VmHWM')); forget_peak()
            self.losses.append([float(self.learn.loss), float(self.learn.generator_loss)])

    write_pictures(folder)
    before = memory('VmRSS') # the libraries
    schedule = GrowthSchedule(1024, start_resolution=1024, stabilize_kimg=steps/1000, batch_size=1)
    learn = progressive_learner(folder, schedule=schedule, device='cpu', cbs=[Watch()])
    nets = learn.model.generator,learn.model.discriminator
    def sums(): return {f'{i}.{k}':p.detach().double().sum().item() for i,o in enumerate(nets) for k,p in o.named_parameters()}
    old = sums()
    with learn.no_bar(), learn.no_logging(): learn.fit()
    w,new = learn.watch,sums()
    cost,fixed = step_cost(*nets, learn.gan_loss, 1024, 1),weights_memory(*nets)
    return dict(resolution=1024, batch=1, precision='fp32', steps=len(w.wall), parameters=sum(p.numel() for o in nets for p in o.parameters()),
        losses=w.losses, still=sorted({k.split('.')[1] for k in old if old[k]==new[k]}), n_still=sum(old[k]==new[k] for k in old), sample=list(learn.sample(1).shape),
        wall_seconds=[round(o, 1) for o in w.wall], cpu_seconds=[round(o, 1) for o in w.cpu], threads=torch.get_num_threads(), cores=os.cpu_count(), load=round(os.getloadavg()[0], 1),
        libraries_bytes=before, peak_bytes=max(w.steps), peak_of_samples_bytes=max(w.samples), counted_step_bytes=cost.memory, counted_fixed_bytes=sum(fixed), counted_flops=cost.flops,
        machine=f'{platform.system()} {platform.machine()}', python=platform.python_version(), torch=torch.__version__)

@slow
def test_official_networks_train_at_1024(tmp_path):
    env = {**os.environ, 'OMP_NUM_THREADS':os.environ.get('OMP_NUM_THREADS', '1'), 'MALLOC_MMAP_THRESHOLD_':'65536', 'PYTHONWARNINGS':'ignore'} # memory that is let go goes back at once
    out = subprocess.run([sys.executable, __file__, str(tmp_path/'r.json')], env=env, capture_output=True, text=True)
    assert out.returncode==0, out.stderr[-2000:]
    r = json.loads((tmp_path/'r.json').read_text())
    print(json.dumps(r, indent=1))
    assert r['steps']==2 and r['parameters']==23_079_115+23_087_249
    assert all(abs(o)<1e6 for step in r['losses'] for o in step) # False for nan
    assert r['still']==['from_rgb','to_rgb'] and r['n_still']==4*8 # those of the 8 smaller sizes have nothing to do; all else has moved
    assert r['sample']==[1,3,1024,1024]
    assert .8 < (r['peak_bytes']-r['libraries_bytes'])/(r['counted_step_bytes']+r['counted_fixed_bytes']) < 1.35

if __name__=='__main__':
    with tempfile.TemporaryDirectory() as d: result = measure(Path(d))
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1)+'\n')
