"The trainer: one published trajectory step by step, and what every run guarantees."
import math, os, pickle, re
from copy import deepcopy
import numpy as np, pytest, torch
from torch import tensor
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastai.learner import Recorder
from golden_nets import golden_networks
from progrow.callbacks import Log, SampleStrip, read_log, average_weights, seconds_left
from progrow.checkpoint import load_generator, save_generator
from progrow.cost import seconds_per_image
from progrow.data import ImagePyramid, image_order, pyramid_levels
from progrow.guards import Guard
from progrow.losses import NonSaturating, WGANGP, gradient_penalty
from progrow.networks import Discriminator, Generator
from progrow.schedule import GrowthSchedule
from progrow.learner import ProgressiveLearner, step_seed
from progrow.sampling import sample_images
from progrow.train import fit_progressive, progressive_learner
from helpers import same
from runs import StopAt, adam, fit, moved, noise, short, shorter, tiny, weights

@pytest.fixture(scope='module')
def whole(): return fit(tiny()) # a run without a break

@pytest.fixture(scope='module')
def half(): return fit(tiny(schedule=shorter))

# --- the golden trajectory, in float64

def close(a, b, rtol=1e-6, atol=1e-7): torch.testing.assert_close(torch.as_tensor(a).double(), torch.as_tensor(b).double(), rtol=rtol, atol=atol)
stable = 'trajectory_pggan16_stable'

def check_end(g, G, D, averaged):
    z,x = tensor(g['z_d'][0]).double(),tensor(g['reals'][0]).double()
    with torch.no_grad(): close(G(z), g['final_img_G']); close(averaged(z), g['final_img_Gs']); close(D(x), g['final_scores'][:,0])

def test_golden_trajectory_by_a_plain_loop(golden):
    g = golden(stable)
    G,D = (o.double() for o in golden_networks(g, 'init_'))
    averaged = deepcopy(G).requires_grad_(False)
    loss,opt = WGANGP(),torch.optim.Adam([*G.parameters(), *D.parameters()], lr=float(g['cfg_lr']), betas=(0.,.99), eps=1e-8)
    reals,zd,zg,mix = (tensor(g[k]).double() for k in ('reals','z_d','z_g','gp_eps'))
    for t in range(5):
        with torch.no_grad(): fake = G(zd[t])
        with torch.no_grad(): close(torch.stack([D(reals[t]).mean(), D(fake).mean()]), g['real_fake_mean_score_before_step'][t])
        penalty = gradient_penalty(D, reals[t], fake, mix=mix[t])
        close(penalty.detach(), g['penalty_mean'][t])
        d_loss = WGANGP(penalty=0).discriminator_loss(D, reals[t], fake) + 10*penalty
        d_loss.backward(); opt.step(); opt.zero_grad()
        average_weights(averaged, G, float(g['cfg_ema_beta']))
        D.requires_grad_(False)
        g_loss = loss.generator_loss(D, G(zg[t]))
        g_loss.backward(); opt.step(); opt.zero_grad()
        D.requires_grad_(True)
        close(d_loss.detach(), g['d_loss'][t]); close(g_loss.detach(), g['g_loss'][t])
    check_end(g, G, D, averaged)

class Given(ImagePyramid):
    "Hands out batches that were made beforehand, in their order"
    def __init__(self, batches):
        self.given = iter(batches)
        super().__init__(pyramid_levels(np.zeros((batches.shape[0]*batches.shape[1], *batches.shape[2:]), np.uint8)))
    def batch(self, *args, **kwargs): return next(self.given)

def test_golden_trajectory_by_the_learner(golden, monkeypatch):
    g = golden(stable)
    G,D = (o.double() for o in golden_networks(g, 'init_'))
    reals,zd,zg,mix = (tensor(g[k]).double() for k in ('reals','z_d','z_g','gp_eps'))
    schedule = GrowthSchedule(16, start_resolution=16, stabilize_kimg=.040, batch_size=8, learning_rate=float(g['cfg_lr']))
    half_life = .008*math.log(.5)/math.log(float(g['cfg_ema_beta']))
    learn = ProgressiveLearner(Given(reals), G, D, schedule, WGANGP(), average_kimg=half_life, device='cpu').remove_cbs([SampleStrip, Recorder, ProgressCallback]) # both know float32 only
    z,eps = iter([o for pair in zip(zd, zg) for o in pair]),iter(mix)
    monkeypatch.setattr(torch, 'randn', lambda *a, **k: next(z)) # latents of the critic's and the generator's steps in turn
    monkeypatch.setattr(torch, 'rand', lambda *a, **k: next(eps))
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double) # "ordinary floats" are 64 bits here
    fit(learn)
    _,_,d_loss,g_loss = map(list, zip(*learn.history.rows))
    close(tensor(d_loss, dtype=torch.float64), g['d_loss']); close(tensor(g_loss, dtype=torch.float64), g['g_loss'])
    check_end(g, G, D, learn.model.averaged)

# --- growing

def test_a_run_grows_from_4_to_16(whole):
    assert whole.images_seen==short.total_images==416
    rows = whole.history.rows
    assert [n for n,*_ in rows]==[*range(0, 416, 16)] or [n for n,*_ in rows]==[*range(16, 417, 16)]
    assert [r for _,r,*_ in rows]==[4]*6+[8]*10+[16]*10
    assert all(math.isfinite(o) for r in rows for o in r[2:]) and all(v.isfinite().all() for v in weights(whole).values())
    assert list(whole.sample_strip.rows)==[4,8,16]
    assert {k:tuple(v.shape) for k,v in whole.sample_strip.rows.items()}=={r:(8,3,r,r) for r in (4,8,16)}
    assert whole.sample_strip.pictures().shape==(24,3,16,16)

def test_pictures_come_from_the_averaged_generator(whole):
    m = whole.model
    assert torch.equal(whole.sample(4, seed=1), sample_images(m.averaged, 4, seed=1))
    assert not torch.allclose(whole.sample(4, seed=1), sample_images(m.generator, 4, seed=1))
    assert torch.equal(whole.sample(4, seed=1), whole.sample(4, seed=1)) and not torch.equal(whole.sample(4, seed=1), whole.sample(4, seed=2))
    assert torch.allclose(whole.sample(2, seed=1), whole.sample(4, seed=1)[:2], atol=1e-5)

@pytest.mark.parametrize('ticks,side,phase', [(1,4,'stabilize'), (6,4,'stabilize'), (7,8,'fade'), (10,8,'fade'), (11,8,'stabilize'), (17,16,'fade')])
def test_samples_have_the_resolution_that_the_run_has_reached(ticks, side, phase):
    learn = fit(tiny(), ticks)
    assert learn.sample(3).shape==(3,3,side,side) and learn.state.phase==phase and learn.images_seen==16*ticks

def test_reals_and_networks_use_one_alpha_that_is_the_schedules():
    seen = []
    class Watch(Callback):
        order = 60 # after the count
        def after_batch(self): seen.append((self.images_seen, self.learn.xb[0].clone(), self.state))
    learn = fit(tiny(cbs=[Watch()]), 9)
    n,real,state = seen[8] # two batches into the fade
    assert n==144 and state==short.next_batch(128) and state.alpha==.5
    sharp = learn.images.batch(image_order(128, 16, 64, 3)[0], 8)
    soft = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(sharp, 2), scale_factor=2)
    torch.testing.assert_close(real, (sharp+soft)/2, atol=1e-6, rtol=0)

def test_learning_rate_follows_the_schedule():
    rates = []
    class Watch(Callback):
        def before_step(self): rates.append({h['lr'] for h in self.opt.hypers})
    fit(tiny(cbs=[Watch()]), 8)
    assert rates==[{.001}]*12+[{.002}]*4

@pytest.mark.parametrize('batch', (12, 48))
def test_a_batch_that_does_not_divide_the_phases_neither_stops_nor_repeats(batch):
    learn = fit(tiny(schedule=GrowthSchedule(8, stabilize_kimg=.1, fade_kimg=.05, batch_size=batch)))
    steps = [r for _,r,*_ in learn.history.rows]
    assert learn.images_seen==batch*len(steps) and 0<=learn.images_seen-learn.schedule.total_images<batch
    assert steps==[learn.schedule.next_batch(n).resolution for n in range(0, learn.images_seen, batch)]

def test_a_batch_size_that_falls_with_the_resolution_oversteps_a_short_tick():
    schedule = GrowthSchedule(8, stabilize_kimg={4:.1, 8:.2}, fade_kimg=.05, batch_size={4:128, 8:16})
    learn = fit(tiny(noise(128), schedule=schedule))
    assert 0<=learn.images_seen-schedule.total_images<16 and learn.images_seen==sum(128 if r==4 else 16 for _,r,*_ in learn.history.rows)

def test_phases_shorter_than_a_batch_are_passed_over():
    learn = fit(tiny(schedule=GrowthSchedule(16, stabilize_kimg={4:.064, 8:.004, 16:.064}, fade_kimg=.003, batch_size=16)))
    assert learn.schedule.total_images <= learn.images_seen < learn.schedule.total_images+16 and learn.sample(2).shape[-1]==16

@pytest.mark.parametrize('batch', (16, 20))
def test_the_strip_has_a_row_for_a_resolution_of_one_tick(batch):
    "also where its images do not divide into batches"
    learn = fit(tiny(schedule=GrowthSchedule(8, stabilize_kimg={4:.096, 8:3}, fade_kimg=.096, batch_size=batch)), 1)
    assert learn.images_seen>=96 and list(learn.sample_strip.rows)==[4]

def test_a_longer_schedule_goes_on():
    learn = fit(tiny(schedule=GrowthSchedule(4, stabilize_kimg=.032, batch_size=16)))
    learn.fit() # nothing left: says so
    assert learn.images_seen==32
    learn.schedule = GrowthSchedule(4, stabilize_kimg=.064, batch_size=16)
    assert fit(learn).images_seen==64

# --- stop and go

@pytest.mark.parametrize('ticks', [(2,), (2,4,2,2)], ids=str)
def test_stopping_and_going_on_changes_nothing(half, ticks):
    "In the middle of a resolution, at the border to a fade, in mid-fade, at its end"
    learn = tiny(schedule=shorter)
    for n in ticks: torch.manual_seed(99); fit(learn, n)
    fit(learn)
    assert same(weights(learn), weights(half)) and same(adam(learn), adam(half)) and learn.images_seen==half.images_seen

def test_stopping_and_going_on_changes_nothing_where_batches_do_not_fit_the_ticks():
    odd = GrowthSchedule(8, stabilize_kimg=.1, fade_kimg=.05, batch_size=12)
    a,b = fit(tiny(schedule=odd)),tiny(schedule=odd)
    while b.ticks_left(): fit(b, 1)
    assert same(weights(a), weights(b)) and same(adam(a), adam(b))

@pytest.mark.parametrize('ticks', (2, 6, 8, 10))
@pytest.mark.filterwarnings('ignore:numpy.core:DeprecationWarning')
def test_going_on_in_a_new_process_changes_nothing(half, ticks, tmp_path):
    "A checkpoint of fastai's `save` holds all that a run is: in mid-phase, at the start of a fade, within it, at its end"
    first = fit(tiny(schedule=shorter), ticks)
    first.path = tmp_path
    first.save('run')
    again = tiny(schedule=shorter)
    again.path = tmp_path
    again.load('run', with_opt=True)
    assert again.images_seen==16*ticks
    fit(again)
    assert same(weights(again), weights(half)) and same(adam(again), adam(half))

@pytest.mark.parametrize('order', (60, 0))
def test_a_fit_cancelled_within_a_tick_goes_on_where_it_stood(order):
    schedule = GrowthSchedule(8, start_resolution=8, stabilize_kimg=.64, batch_size=4, learning_rate=.001) # ticks of five batches
    a,b = fit(tiny(schedule=schedule), 2),tiny(schedule=schedule)
    fit(b, cbs=StopAt('after_batch', 7, CancelFitException(), order))
    assert b.images_seen==28
    fit(b, 1)
    assert a.images_seen==b.images_seen==40 and same(weights(a), weights(b)) and same(adam(a), adam(b))

def interrupted(n):
    "A run with a Control-C after the n-th backward of a fit (4 in a batch: 3 of the critic, 1 of the generator), then fitted to 64 images"
    learn = tiny()
    with pytest.raises(KeyboardInterrupt): fit(learn, 4, cbs=StopAt('after_backward', n, KeyboardInterrupt()))
    assert learn.images_seen==32
    return fit(learn, 2)

def test_an_interrupt_in_the_critics_step_changes_nothing():
    "but for the average, which saw that generator twice"
    a,b = fit(tiny(), 4),interrupted(4*2+2)
    a,b = [({k:v for k,v in weights(o).items() if not k.startswith('averaged')}, adam(o)) for o in (a,b)]
    assert same(a[0], b[0]) and same(a[1], b[1])

def test_after_an_interrupt_in_the_generators_step_the_run_goes_on():
    learn = interrupted(4*2+4)
    assert learn.images_seen==64 and all(v.isfinite().all() for v in weights(learn).values())

# --- one step

def test_each_player_moves_in_its_own_step_only():
    learn = tiny()
    learn.create_opt()
    real = learn.images.batch(range(16), 4)
    start = weights(learn)
    learn.critic_step(real); after_critic,critic_state = weights(learn),adam(learn)
    learn.generator_step(16); after_generator,state = weights(learn),adam(learn)
    assert moved(start, after_critic)=={'discriminator'} and moved(after_critic, after_generator)=={'generator'}
    assert {k.split('.')[0] for k in critic_state}=={'discriminator'}
    assert same(critic_state, {k:v for k,v in state.items() if k.startswith('discriminator')}) # Adam's moments stood still, too
    assert all(p.grad is None for p in learn.model.parameters()) and all(p.requires_grad for p in learn.model.discriminator.parameters())

def test_layers_not_yet_grown_have_no_optimizer_state_and_do_not_move():
    learn = tiny()
    start = weights(learn)
    fit(learn, 6)
    end = weights(learn)
    for k in start:
        if any(f'.{r}.' in k for r in (8,16)): assert torch.equal(start[k], end[k]) and k not in adam(learn)
    assert {k.split('.', 1)[1].split('.conv')[0] for k in adam(learn) if k.startswith('generator')} >= {'blocks.4', 'to_rgb.4.weight'}

def test_old_rgb_layers_rest_after_the_fade(whole):
    assert not any('rgb.4.' in k or 'rgb.8.' in k for k in adam(whole))

@pytest.mark.parametrize('reset,steps', [(True, 6), (False, 16)])
def test_optimizer_is_reset_where_a_phase_begins_if_asked(reset, steps):
    learn = fit(tiny(schedule=shorter, reset_optimizer=reset))
    assert {int(adam(learn)[f'{k}.weight']['step']) for k in ('discriminator.blocks.4.dense1', 'generator.blocks.4.dense')}=={steps}

def test_average_starts_as_the_generator_and_lags_behind():
    learn = tiny()
    assert all(torch.equal(a, b) for a,b in zip(learn.model.averaged.parameters(), learn.model.generator.parameters()))
    instant = fit(tiny(average_kimg=0), 2)
    assert not any(p.requires_grad for p in learn.model.averaged.parameters()) and not learn.model.averaged.training
    m = instant.model # without an average: the generator one step ago
    assert (m.averaged.to_rgb['4'].weight-m.generator.to_rgb['4'].weight).abs().max() <= 2.1*.001

def test_timing_the_steps_moves_nothing():
    learn = fit(tiny(), 8)
    w,a,state = weights(learn),adam(learn),learn.state
    times = seconds_per_image(learn.players, learn.images, learn.schedule, learn.images_seen)
    assert set(times)=={8,16} and all(t>0 for t in times.values())
    assert same(w, weights(learn)) and same(a, adam(learn)) and learn.state==state and learn.images_seen==128
    assert all(p.grad is None for p in learn.model.parameters())
    assert same(weights(fit(learn, 2)), weights(fit(tiny(), 10)))

def test_timing_covers_every_resolution_still_to_come():
    "also of a run that ends within a fade: the bar adds up the times of all of them"
    learn = tiny(schedule=GrowthSchedule(8, stabilize_kimg=.032, fade_kimg=.064, batch_size=16, total_kimg=.064))
    assert seconds_left(learn.schedule, 0, seconds_per_image(learn.players, learn.images, learn.schedule))>0

def test_the_line_says_where_the_run_stands_and_changes_nothing(half, capsys, monkeypatch):
    from progrow import progress
    now = iter(range(10**6))
    monkeypatch.setattr(progress, 'monotonic', lambda: next(now)) # a second between two looks: every step is shown
    learn = tiny(schedule=shorter)
    learn.fit(show='bar')
    out,err = capsys.readouterr()
    lines = [o for o in err.split('\r') if o.strip()]
    assert not out and re.match(r'4x4 stabilize +\d+% .*\d+ images/s, 0:\d\d so far, 0:00 left$', lines[0]) and any(o.startswith('8x8 fade alpha 0.25 ') for o in lines)
    assert same(weights(learn), weights(half)) and same(adam(learn), adam(half))

# --- seeds

def test_the_same_seed_gives_the_same_run_whatever_was_drawn_before(half):
    torch.manual_seed(123); np.random.seed(5)
    assert same(weights(fit(tiny(schedule=shorter))), weights(half))

def test_another_seed_gives_another_start_and_another_run():
    a,b = tiny(seed=4),tiny(seed=3)
    assert not torch.equal(a.model.generator.blocks['4'].dense.weight, b.model.generator.blocks['4'].dense.weight)
    a.model.load_state_dict(b.model.state_dict())
    fit(a, 2), fit(b, 2)
    assert not torch.equal(a.model.generator.blocks['4'].dense.weight, b.model.generator.blocks['4'].dense.weight)

def test_building_a_run_leaves_the_global_random_numbers_alone():
    torch.manual_seed(0); a = torch.rand(3)
    torch.manual_seed(0); tiny()
    assert torch.equal(a, torch.rand(3))

def test_step_seeds_differ_and_fit_torch():
    seeds = {step_seed(s, n) for s in (*range(20), 2**40, -1) for n in range(0, 20000, 16)}
    assert len(seeds)==22*1250 and all(0<=s<2**63 for s in seeds)
    torch.manual_seed(max(seeds))

# --- other losses, pictures, precisions

@pytest.mark.parametrize('loss', ('lsgan', 'non-saturating', NonSaturating(0.), WGANGP(full_resolution=16)), ids=str)
def test_other_losses_run(loss):
    learn = fit(tiny(loss=loss), 8)
    assert all(v.isfinite().all() for v in weights(learn).values()) and moved(weights(tiny()), weights(learn))=={'generator','discriminator','averaged'}

def test_gray_pictures_run():
    learn = fit(tiny(noise(channels=1)), 8)
    assert learn.sample(2).shape==(2,1,8,8) and learn.model.generator.config['image_channels']==1

def test_mirroring_changes_the_run():
    assert not same(weights(fit(tiny(mirror=True), 2)), weights(fit(tiny(), 2)))

@pytest.mark.parametrize('ticks', (6, 9))
def test_bfloat16_runs_close_to_float32(ticks):
    a,b = fit(tiny(precision='bf16'), ticks),fit(tiny(), ticks)
    assert (a.precision.name, b.precision.name)==('bf16','fp32') and all(v.dtype==torch.float32 and v.isfinite().all() for v in weights(a).values())
    assert not same(weights(a), weights(b))
    for x,y in zip(a.history.rows[0][2:], b.history.rows[0][2:]): assert x==pytest.approx(y, rel=.05, abs=.05)
    assert a.sample(2).dtype==torch.float32

# --- files

def test_exported_generator_draws_the_same_pictures(whole, tmp_path):
    path = whole.export(tmp_path/'new'/'folder'/'g.pt')
    G = load_generator(path)
    assert torch.equal(sample_images(G, 5, seed=2), whole.sample(5, seed=2))
    assert not G.training and not any(p.requires_grad for p in G.parameters())
    assert os.listdir(path.parent)==['g.pt']

def test_exported_file_holds_plain_values_and_tensors_only(whole, tmp_path):
    f = torch.load(whole.export(tmp_path/'g.pt'), weights_only=True)
    assert (f['format'], f['version'], f['network'], f['resolution'])==('progrow-generator', 1, 'Generator', 16) and f['config']==whole.model.generator.config

def test_generator_exported_in_mid_fade_draws_at_the_resolution_that_is_done(tmp_path):
    learn = fit(tiny(), 8)
    G = load_generator(learn.export(tmp_path/'g.pt'))
    assert sample_images(G, 2).shape[-1]==4 and sample_images(G, 2, resolution=16).shape[-1]==16
    assert torch.equal(sample_images(G, 2, resolution=8, alpha=learn.schedule(learn.images_seen).alpha), learn.sample(2))

@pytest.mark.parametrize('keep', (0, 10, .3, .9, -1))
def test_a_file_cut_short_is_refused(tmp_path, keep):
    path = save_generator(Generator(8, latent_dim=6, fmap_max=8), tmp_path/'g.pt')
    whole = path.read_bytes()
    path.write_bytes(whole[:int(keep*len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match='g.pt.*damaged or cut short'): load_generator(path)

@pytest.mark.parametrize('content', ({'epoch':1}, [1,2], torch.zeros(3), Generator(4, fmap_max=8).state_dict()), ids=('dict','list','tensor','weights'))
def test_foreign_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path/'g.pt')
    with pytest.raises(ValueError, match='not a generator of progrow'): load_generator(tmp_path/'g.pt')

class Bomb:
    def __reduce__(self): return os.mkdir, ('exploded',)

@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'format':'progrow-generator', 'x':Bomb()}, 'g.pt')
    (tmp_path/'p.pt').write_bytes(pickle.dumps(Bomb()))
    for name in ('g.pt','p.pt'):
        with pytest.raises(ValueError, match='not a file of plain tensors'): load_generator(name)
    assert not (tmp_path/'exploded').exists()

def test_files_from_a_newer_progrow_and_missing_files_say_so(tmp_path):
    f = torch.load(save_generator(Generator(8, latent_dim=6, fmap_max=8), tmp_path/'g.pt'), weights_only=True)
    torch.save({**f, 'version':2}, tmp_path/'new.pt'); torch.save({**f, 'network':'Dream'}, tmp_path/'dream.pt')
    with pytest.raises(ValueError, match='format 2.*upgrade'): load_generator(tmp_path/'new.pt')
    with pytest.raises(ValueError, match='Dream.*upgrade'): load_generator(tmp_path/'dream.pt')
    with pytest.raises(FileNotFoundError, match='no file'): load_generator(tmp_path/'none.pt')

def test_a_save_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    G = Generator(8, latent_dim=6, fmap_max=8)
    path = save_generator(G, tmp_path/'g.pt')
    before = path.read_bytes()
    def half(obj, f): open(f, 'wb').write(b'PK half'); raise OSError('disk full')
    monkeypatch.setattr(torch, 'save', half)
    with pytest.raises(OSError, match='disk full'): save_generator(G, path)
    with pytest.raises(OSError, match='disk full'): save_generator(G, tmp_path/'other.pt')
    assert path.read_bytes()==before and not (tmp_path/'other.pt').exists()
    assert os.listdir(tmp_path)==['g.pt']

# --- one call

quick = dict(latent_dim=6, fmap_base=32, fmap_max=8, device='cpu', schedule=GrowthSchedule(8, stabilize_kimg=.032, fade_kimg=.032, batch_size=16))

def test_fit_progressive_writes_its_files(tmp_path):
    from PIL import Image
    learn = fit_progressive(noise(resolution=8), path=tmp_path/'out', **quick)
    assert sorted(os.listdir(tmp_path/'out'))==['checkpoints','generator.pt','log.jsonl','losses.png','samples.png','settings.json','sheets','strip.png']
    for o in (tmp_path/'out').glob('*.png'):
        with Image.open(o) as im: im.verify()
    assert torch.equal(sample_images(load_generator(tmp_path/'out'/'generator.pt'), 2), learn.sample(2))

def test_fit_progressive_without_a_path_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit_progressive(noise(resolution=8), **quick).images_seen==96 and not os.listdir(tmp_path)

def test_one_call_is_the_learner_fitted():
    a,b = fit_progressive(noise(resolution=8), **quick),progressive_learner(noise(resolution=8), **quick)
    assert same(weights(a), weights(fit(b)))

def test_named_schedule_brings_its_sizes_and_given_ones_win():
    learn = progressive_learner(noise(64, resolution=32), device='cpu', fmap_max=24)
    assert (learn.schedule, learn.model.generator.config['latent_dim'], learn.model.generator.config['fmap_max'])==(GrowthSchedule.named('minutes', 32), 64, 24)
    assert progressive_learner(noise(64, resolution=32), resolution=16, device='cpu').sample(1).shape[-1]==4

# --- bad arguments

def small(**kwargs): return progressive_learner(**{**dict(images=noise(), device='cpu', schedule=short, latent_dim=6, fmap_max=8), **kwargs})

@pytest.mark.parametrize('args,says', [
    (dict(schedule='hours'), "no preset is named 'hours'.*minutes"), (dict(schedule='minutes', resolution=12), 'power of two, 4 or more, got 12'),
    (dict(resolution=8), 'resolution=8, but the schedule ends at 16'), (dict(schedule='minutes', resolution=64), '64'),
    (dict(loss='hinge'), "no loss 'hinge'.*wgan-gp"), (dict(precision='fp8'), "precision='fp8'.*bf16"),
    (dict(latent_dim=0), 'latent_dim must be 1 or more, a whole number, got 0'), (dict(fmap_max=-1), 'fmap_max'), (dict(fmap_base=0), 'fmap_base'),
    (dict(average_kimg=-1), 'average_kimg must be 0 or more'), (dict(images=noise(8)), '8 images are fewer than one batch of 16')], ids=str)
def test_bad_arguments_say_what_is_wrong(args, says):
    with pytest.raises(ValueError, match=says): small(**args)

def test_a_missing_gpu_is_missed_at_once():
    if torch.cuda.is_available(): pytest.skip('there is one')
    with pytest.raises(ValueError, match='0 CUDA GPUs'): small(device='cuda')

@pytest.mark.parametrize('args', [dict(generator=Generator(8, latent_dim=6, fmap_max=8)), dict(discriminator=Discriminator(8, fmap_max=8)),
    dict(discriminator=Discriminator(16, image_channels=1, fmap_max=8)), dict(generator=Generator(16, image_channels=1, latent_dim=6, fmap_max=8)),
    dict(loss=WGANGP(full_resolution=8))], ids=['generator','discriminator','channels of D','channels of G','full_resolution'])
def test_networks_and_losses_that_do_not_fit_fail_before_the_first_step(args):
    with pytest.raises(ValueError): small(**args)

def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match='banana'): small(banana=1)

def test_a_fit_of_no_ticks_is_refused():
    for n in (0, -1):
        with pytest.raises(ValueError, match='n_ticks must be 1 or more'): fit(tiny(), n)

def test_truncation_is_for_generators_that_know_it(whole):
    with pytest.raises(ValueError, match='no truncation'): whole.sample(2, psi=.7)

@pytest.mark.parametrize('kw', ({}, dict(images=noise(labels=np.arange(64)%3), conditional=True)), ids=('plain','classes'))
def test_a_loss_that_sees_reals_gets_them(kw):
    learn = tiny(schedule=shorter, loss='pairing:every=2', **kw)
    seen,loss = [],learn.gan_loss
    def generator_loss(D, fake, real): seen.append((fake.shape, real.shape)); return type(loss).generator_loss(loss, D, fake, real)
    loss.generator_loss = generator_loss
    fit(learn)
    assert learn.images_seen==shorter.total_images and len(seen)==16 and all(a==b for a,b in seen)

@pytest.mark.parametrize('kw,says', ((dict(lr=1e-3), 'lr is decided by the schedule.*learning_rate='), (dict(epochs=3), 'total_kimg='), (dict(batch_size=3), 'batch_size='),
    (dict(presicion='bf16'), 'did you mean precision'), (dict(nonsense=1), "no argument 'nonsense'")))
def test_arguments_that_are_none_point_to_what_is_meant(kw, says):
    with pytest.raises(TypeError, match=says): tiny(schedule=shorter, **kw)

@pytest.mark.parametrize('kw,says', ((dict(seed=2**70), 'seed'), (dict(seed=True), 'seed'), (dict(latent_dim=1.5), 'latent_dim'), (dict(average_kimg=math.nan), 'average_kimg'),
    (dict(fmap_max=2**40), 'fmap_max')))
def test_numbers_that_make_no_sense_are_refused(kw, says):
    with pytest.raises(ValueError, match=says): tiny(schedule=shorter, **kw)

def test_a_callback_takes_the_place_of_nothing():
    State = type('State', (Callback,), {})
    with pytest.raises(ValueError, match='State would take the place of learn.state'): tiny(schedule=shorter, cbs=[State()])

def test_a_learner_prints_as_a_sentence():
    assert repr(fit(tiny(schedule=shorter), 2))=='A run of Generator against Discriminator on 64 images, cpu, fp32: 32 of 256 images seen, 4x4 stabilize'


# --- what a step leaves behind, what an interrupt leaves behind, what a loss lacks

def test_the_table_and_the_log_tell_the_mean_of_a_tick_and_no_step_leaves_objects(tmp_path):
    schedule = GrowthSchedule(8, start_resolution=8, stabilize_kimg=.64, batch_size=4) # ticks of five steps
    learn = fit(tiny(schedule=schedule, cbs=[Log(tmp_path/'log.jsonl')]))
    names,last = learn.recorder.metric_names,learn.recorder.values[-1]
    assert list(names)==['epoch','kimg','resolution','phase','critic_loss','generator_loss','time']
    for i,name in enumerate(('critic_loss','generator_loss')):
        steps = [r[2+i] for r in learn.history.rows[-5:]]
        assert last[names.index(name)-1]==pytest.approx(sum(steps)/5)
        assert read_log(tmp_path/'log.jsonl')[name].iloc[-1]==pytest.approx(sum(steps)/5, abs=1e-6)
    assert type(learn.recorder.losses).__name__==type(learn.recorder.lrs).__name__=='array' and len(learn.recorder.losses)==160

@pytest.mark.parametrize('event', ['before_batch','after_backward','after_step','before_epoch','after_epoch'])
@pytest.mark.parametrize('show', ['bar','lines',None])
def test_after_an_interrupt_the_learner_is_usable(event, show, half, tmp_path):
    learn = tiny(schedule=shorter)
    logger = learn.logger
    with pytest.raises(KeyboardInterrupt): learn.fit(cbs=[StopAt(event, 3, KeyboardInterrupt(), -9)], show=show)
    assert learn.logger==logger and learn.xb==(None,) and all(p.grad is None and p.requires_grad for p in learn.model.discriminator.parameters())
    assert not any(isinstance(c, StopAt) for c in learn.cbs) and learn.sample(2).shape==(2,3,4,4)
    assert load_generator(learn.export(tmp_path/'g.pt')) and repr(learn) and learn.save_checkpoint(tmp_path)
    again = fit(tiny(schedule=shorter).resume(tmp_path))
    learn.fit(show=show)
    assert learn.images_seen==again.images_seen==256 and all(v.isfinite().all() for v in weights(learn).values())

def test_a_loss_without_terms_is_told_so_before_the_first_step():
    from progrow.losses import Loss
    class Half(Loss):
        def generator_loss(self, D, fake): return -D(fake).mean()
    with pytest.raises(ValueError, match='the loss Half has no discriminator_terms'): small(loss=Half())

@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='reads the memory of a process as Linux tells it')
def test_a_long_run_keeps_nothing_of_its_steps():
    import gc
    seen = []
    class Look(Callback):
        def after_batch(self):
            if self.images_seen not in (1600, 6000): return
            gc.collect()
            seen.append((len(gc.get_objects()), int(open('/proc/self/statm').read().split()[1])*os.sysconf('SC_PAGE_SIZE')))
    fit(tiny(schedule=GrowthSchedule(4, stabilize_kimg=6.4, batch_size=4), cbs=[Look()])) # 1100 steps lie in between
    (objects,memory),(objects2,memory2) = seen
    assert objects2-objects<2000 and memory2-memory<8e6, (objects2-objects, memory2-memory)

def test_a_guard_of_ones_own_takes_the_place_of_ours():
    learn = tiny(schedule=shorter, cbs=[Guard(limit=1e30)])
    assert [c.limit for c in learn.cbs if isinstance(c, Guard)]==[1e30] and learn.guard.limit==1e30

@pytest.mark.parametrize('name', ('Opt','Asked','Loss','Epoch'))
def test_not_even_what_is_still_empty_is_shadowed(name):
    with pytest.raises(ValueError, match=f'learn.{name.lower()}: rename'): tiny(schedule=shorter, cbs=[type(name, (Callback,), {})])
