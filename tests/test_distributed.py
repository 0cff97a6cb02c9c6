"Two processes train what one trains. torchrun starts this file twice as a program (gloo, CPU); pytest then compares what the two leave behind with one process."
import os, signal, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest, torch
from PIL import Image
from torch import distributed as dist
from fastai.callback.core import Callback
import progrow.data
from progrow.checkpoint import checkpoints, load_checkpoint
from progrow.data import ImagePyramid, image_pyramid, pyramid_levels
from progrow.losses import LSGAN, WGANGP
from progrow.networks import Discriminator, Generator
from progrow.schedule import GrowthSchedule
from helpers import same
from progrow.train import fit_progressive, progressive_learner
from runs import fit, left

# --- a run of 14 ticks of one step: two at 4x4, four of fade and two of rest at 8x8, and the same at 16x16

short = GrowthSchedule(16, stabilize_kimg=.032, fade_kimg=.064, batch_size=16, learning_rate={4:.001, 8:.002})
stop,end = 5,10 # in the middle of either fade
pictures = pyramid_levels(np.random.default_rng(0).integers(0, 256, (64,3,16,16), dtype=np.uint8))

def make(loss='wgan-gp', labels=False, **kwargs):
    images = ImagePyramid(pictures, np.arange(64)%3 if labels else None)
    sizes = dict(latent_dim=6, fmap_base=32, fmap_max=8, average_kimg=.05, seed=3, schedule=short, device='cpu')
    return progressive_learner(images, loss=loss, conditional=labels, **{**sizes, **kwargs})

# --- what either process does, and what one process does alone for comparison

def trained(loss, **kwargs): return lambda folder: left(fit(make(loss, **kwargs), end))

def begun(folder):
    "From networks that have learned, up to 8x8; the block of 8x8 of the critic stands still"
    torch.manual_seed(2)
    sizes = dict(fmap_base=32, fmap_max=8)
    learned = SimpleNamespace(generator=Generator(8, latent_dim=6, **sizes), discriminator=Discriminator(8, **sizes))
    later = GrowthSchedule(16, 8, stabilize_kimg=.032, fade_kimg=.064, batch_size=16)
    return left(fit(make(start_from=learned, freeze_discriminator=1, schedule=later), 4))

def stopped(folder):
    "A checkpoint in the middle of a fade, for `resumed` and for one process"
    learn = fit(make(), stop)
    if learn.processes.first: learn.save_checkpoint(folder/f'of{learn.processes.world}')
    learn.processes.wait()
    return left(learn)

def resumed(world): return lambda folder: left(fit(make().resume(folder/f'of{world}'), end-stop))

def ingested(folder):
    "The pictures of a folder, and how many times they were read"
    n,read = [],progrow.data._ingest
    progrow.data._ingest = lambda *args: n.append(1) or read(*args)
    try: learn = make_from(folder/'pngs')
    finally: progrow.data._ingest = read
    return {'read':len(n), 'images':torch.from_numpy(np.array(learn.images.level(16)))}

def make_from(folder): return progressive_learner(folder, 16, schedule=short, latent_dim=6, fmap_base=32, fmap_max=8, device='cpu')

def refused(folder):
    try: make(schedule=GrowthSchedule(16, stabilize_kimg=.03, fade_kimg=.03, batch_size={4:16, 16:15}))
    except ValueError as e: return str(e)

class OneIsBad(WGANGP):
    "In the third step the loss of the last process alone is infinite, by a constant: no gradient shows it"
    steps = 0
    def discriminator_terms(self, D, real, fake, mix=None):
        self.steps += 1
        yield from super().discriminator_terms(D, real, fake, mix)
        last = not dist.is_initialized() or dist.get_rank()==dist.get_world_size()-1
        if self.steps==3 and last: yield 0*D(real).sum() + float('inf')

def skipped(folder):
    learn = fit(make(OneIsBad()), stop)
    return {'skipped':learn.skipped, **left(learn)}

def noisy(folder):
    learn = fit(make(LSGAN(fake_target=4., noise=2.)), end)
    return {'d_hat':learn.gan_loss.d_hat, **left(learn)}

jobs = {'WGAN-GP':trained('wgan-gp'), 'R1':trained('non-saturating', mirror=True), 'LSGAN':trained(LSGAN(noise=0.)), 'classes':trained('wgan-gp', labels=True),
        'Freeze-D':begun, 'fp16':trained('wgan-gp', precision='fp16'), 'noise':noisy, 'bad loss':skipped,
        'stopped':stopped, 'from one':resumed(1), 'from two':resumed(2), 'ingested':ingested, 'refused':refused}
same_as_one = ['WGAN-GP','R1','LSGAN','classes','Freeze-D']

def work(folder):
    res = {k:job(folder) for k,job in jobs.items()}
    torch.save(res, folder/f'rank{dist.get_rank()}.pt')

def told_to_stop(folder):
    "A long run; the file `going` says that it is under way"
    class Going(Callback):
        def after_batch(self):
            if self.images_seen==320: (folder/f'going{self.learn.processes.rank}').touch()
    schedule = GrowthSchedule(16, stabilize_kimg=100, fade_kimg=100, batch_size=16)
    try: fit_progressive(ImagePyramid(pictures), path=folder/'run', schedule=schedule, latent_dim=6, fmap_base=32, fmap_max=8, device='cpu', cbs=[Going()])
    finally: (folder/f'left{dist.get_rank()}').write_text(sys.exc_info()[0].__name__)

def killed(folder):
    "A checkpoint after five steps; in the seventh the second process is gone"
    class Gone(Callback):
        def after_batch(self):
            if self.images_seen==16*7 and self.learn.processes.rank: os.kill(os.getpid(), signal.SIGKILL)
    learn = fit(make(cbs=[Gone()]), stop)
    if learn.processes.first: learn.save_checkpoint(folder/'killed')
    learn.processes.wait()
    fit(learn, end-stop)

def start(what, folder, **kwargs):
    "Two processes that do `what`, by torchrun"
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'PYTHONWARNINGS':'ignore', 'MPLBACKEND':'agg', 'PROGROW_CACHE':str(folder/'cache')}
    return subprocess.Popen([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', __file__, what, folder],
                            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)

if __name__=='__main__':
    torch.set_num_threads(1)
    globals()[sys.argv[1]](Path(sys.argv[2]))
    sys.exit()

# --- the checks

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return tmp_path_factory.mktemp('two')

@pytest.fixture(scope='module')
def two(folder):
    "What both processes have left, job by job"
    jobs['stopped'](folder) # by one process
    (folder/'pngs').mkdir()
    for i,x in enumerate(pictures[16]): Image.fromarray(x.transpose(1, 2, 0)).save(folder/'pngs'/f'{i:02}.png')
    p = start('work', folder)
    out,_ = p.communicate(timeout=300)
    assert p.returncode==0, out[-4000:]
    return [torch.load(folder/f'rank{r}.pt') for r in (0,1)]

def off(a, b):
    "How far two runs are from each other, as a part of the length of each player's weights. In single numbers it may be more: Adam divides gradients near 0 by themselves"
    assert a.keys()==b.keys()
    parts = {k.split('.')[0] for k in a}
    flat = lambda d, p: torch.cat([v.flatten().double() for k,v in d.items() if k.split('.')[0]==p])
    return max(((flat(a, p)-flat(b, p)).norm()/flat(b, p).norm()).item() for p in parts)

@pytest.mark.parametrize('job', [o for o in jobs if o not in ('ingested','refused')])
def test_both_processes_hold_the_same_bits(two, job): assert same(two[0][job], two[1][job])

@pytest.mark.parametrize('job', same_as_one)
def test_two_processes_equal_one_with_the_whole_batch(two, folder, job):
    one = jobs[job](folder)
    assert {k.split('.')[0] for k in one}=={'generator','discriminator','averaged','adam','losses'}
    assert off(two[0][job], one)<1e-4

def test_other_random_numbers_would_be_noticed(two, folder): assert off(two[0]['WGAN-GP'], left(fit(make(seed=4), end)))>.1

def test_stop_and_resume_with_two_changes_no_bit(two): assert same(two[0]['from two'], two[0]['WGAN-GP'])

def test_one_process_goes_on_where_two_stopped_and_two_where_one_did(two, folder):
    assert off(two[0]['from one'], two[0]['WGAN-GP'])<1e-4
    assert off(jobs['from two'](folder), two[0]['WGAN-GP'])<1e-4

def test_only_the_first_process_writes_checkpoints(two, folder): # the second one would have had to wait
    assert [o.name for o in checkpoints(folder/'of2')]==['checkpoint-000000080.pt']
    one,two = (load_checkpoint(folder/f'of{n}') for n in (1,2))
    assert one.keys()==two.keys() and one['settings']==two['settings'] and one['images_seen']==two['images_seen']==80 # nothing in it depends on how many wrote it

def test_a_step_that_is_bad_in_one_process_is_left_out_in_both(two): assert [o['bad loss']['skipped'] for o in two]==[1,1]

def test_the_noise_of_lsgan_is_as_strong_in_both(two): assert two[0]['noise']['d_hat']==two[1]['noise']['d_hat']>0

def test_a_folder_is_read_once_and_used_by_both(two):
    assert [o['ingested']['read'] for o in two]==[1,0]
    for o in two: assert np.array_equal(o['ingested']['images'], pictures[16])

def test_a_batch_that_does_not_divide_is_refused(two):
    for o in two: assert o['refused']=="2 processes cannot share out batches of {16: 15} (resolution: images): take batch sizes that 2 divides"

@pytest.mark.skipif(os.name=='nt', reason='Windows has no process groups with Ctrl-C')
def test_ctrl_c_saves_once_and_ends_both(tmp_path):
    p = start('told_to_stop', tmp_path, start_new_session=True)
    try:
        for _ in range(600):
            if p.poll() is not None or all((tmp_path/f'going{r}').exists() for r in (0,1)): break
            time.sleep(.1)
        os.killpg(p.pid, signal.SIGINT) # what a terminal does: to torchrun and to both processes
        out,_ = p.communicate(timeout=60)
    finally:
        if p.poll() is None: os.killpg(p.pid, signal.SIGKILL)
    assert p.returncode and out.count('Stopped after')==1, out[-4000:]
    assert [(tmp_path/f'left{r}').read_text() for r in (0,1)]==['KeyboardInterrupt']*2
    kept = tmp_path/'run'/'checkpoints'
    saved, = checkpoints(kept)
    assert [o.name for o in kept.iterdir()]==[saved.name] and load_checkpoint(saved)['images_seen']>=320

# --- one that fails, one that freezes

two_alone = '''
import os, signal, sys, time, torch, torch.distributed as dist
rank,folder,what = int(sys.argv[1]),sys.argv[2],sys.argv[3]
dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
import progrow.processes as P
from progrow.guards import stop_signals
P.last_wait = 1.
who = P.processes()
who.wait()
assert who.from_first(lambda: [1, 'two']) == [1, 'two'] and who.most(rank) == 1
print('met', os.getpid(), flush=True)
if what=='freeze' and rank==1: time.sleep(60)
if what=='caught':
    try:
        with who.shared_fate(): raise ValueError('both have it')
    except ValueError: print('caught', flush=True)
    if rank: time.sleep(3)
    with who.shared_fate(): who.wait()
    print('together', flush=True)
    dist.destroy_process_group(); sys.exit()
try:
    with stop_signals(patient=True), who.shared_fate():
        if what=='fail' and rank==0: raise OSError('could not write x.pt: the disk is full')
        who.average([torch.ones(3)])
except Exception as e: print(type(e).__name__, e, flush=True); os._exit(1)
'''

def two_of(what, folder):
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'PYTHONWARNINGS':'ignore', 'PYTHONPATH':os.pathsep.join(sys.path)}
    both = [subprocess.Popen([sys.executable, '-c', two_alone, str(r), str(folder), what], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for r in (0,1)]
    for p in both:
        line = p.stdout.readline()
        assert line.startswith('met'), line+p.stdout.read()
    return both

def test_the_cause_of_a_failure_reaches_the_other_process(tmp_path):
    both = two_of('fail', tmp_path)
    outs = [p.communicate(timeout=60)[0] for p in both]
    assert outs[0].startswith('OSError could not write x.pt: the disk is full')
    assert outs[1].startswith('RuntimeError process 0 has failed, so this one stops too: could not write x.pt: the disk is full'), outs[1]

@pytest.mark.skipif(os.name=='nt', reason='Windows has no SIGTERM that is heard')
def test_a_process_that_is_told_to_stop_names_the_one_that_hangs(tmp_path):
    first,second = both = two_of('freeze', tmp_path)
    try:
        time.sleep(1); begun = time.monotonic()
        first.send_signal(signal.SIGTERM)
        out,_ = first.communicate(timeout=60)
        assert out.startswith('TimeoutError process 1 has not come for') and time.monotonic()-begun<20, out
    finally:
        for p in both: p.kill(); p.wait()

def test_one_that_is_killed_ends_the_other_and_nothing_is_lost(tmp_path):
    "torchrun notices the death of one and ends all; what was saved goes on to the same bits"
    first = start('killed', tmp_path)
    out,_ = first.communicate(timeout=120)
    assert first.returncode, out[-2000:]
    saved = checkpoints(tmp_path/'killed')
    assert saved and load_checkpoint(saved[0])['images_seen']==16*stop
    again = left(fit(make().resume(tmp_path/'killed'), end-stop))
    whole = left(fit(make(), end))
    assert off(again, whole)<1e-4 # sums over two halves of a batch are rounded otherwise

def test_after_an_error_that_was_caught_the_processes_go_on_together(tmp_path):
    both = two_of('caught', tmp_path)
    outs = [p.communicate(timeout=90)[0] for p in both]
    assert outs==['caught\ntogether\n']*2, outs
