"What each name stands for, cell by cell, against the published tables (written out here, not read from the package)."
import subprocess, sys
import pytest
from progrow.losses import LSGAN, NonSaturating, WGANGP
from progrow.presets import named_presets, on_data, pick_loss, preset, preset_side
from progrow.schedule import GrowthSchedule

sides = (4, 8, 16, 32, 64, 128, 256, 512, 1024)

# The papers, their appendices and the released code: minibatch and learning rate (in thousandths) at each side, from 4 to 1024
batches = {
    ('paper',1):    (16, 16, 16, 16, 16, 16, 14, 6, 3),
    ('official',1): (128, 128, 128, 64, 32, 16, 8, 4, 4),
    ('official',2): (256, 256, 128, 64, 32, 16, 8, 8, 8),
    ('official',4): (512, 256, 128, 64, 32, 16, 16, 16, 16),
    ('official',8): (512, 256, 128, 64, 32, 32, 32, 32, 32),
    ('stylegan',1): (None, 128, 128, 64, 32, 16, 8, 4, 4),
    ('stylegan',2): (None, 256, 128, 64, 32, 16, 8, 8, 8),
    ('stylegan',4): (None, 256, 128, 64, 32, 16, 16, 16, 16),
    ('stylegan',8): (None, 256, 128, 64, 32, 32, 32, 32, 32)}
style_rates = (None, 1, 1, 1, 1, 1.5, 2, 3, 3)
rates = {
    ('paper',1):    (1, 1, 1, 1, 1, 1, 1, 1, 1),
    ('official',1): (1, 1, 1, 1, 1, 1, 1, 1, 1.5),
    ('official',2): (1, 1, 1, 1, 1, 1, 1, 1.5, 2),
    ('official',4): (1, 1, 1, 1, 1, 1, 1.5, 2, 3),
    ('official',8): (1, 1, 1, 1, 1, 1.5, 2, 3, 3),
    **{('stylegan',g):style_rates for g in (1,2,4,8)}}
runs = { # first side, kimg per stay, kimg per fade, kimg in all, Adam's resets
    'paper':    (4, 800, 800, 19000, 17),
    'official': (4, 600, 600, 12000, 17),
    'stylegan': (8, 600, 600, 25000, 15)}
rest = { # what no schedule holds
    'paper':    dict(latent_dim=512, fmap_base=8192, fmap_max=512, group_size=16, pool_before_activation=False,
                     mirror=True, reset_optimizer=True, average_decay=.999),
    'official': dict(latent_dim=512, fmap_base=8192, fmap_max=512, group_size=4, pool_before_activation=True,
                     mirror=True, reset_optimizer=True, average_decay=.999),
    'stylegan': dict(latent_dim=512, fmap_base=8192, fmap_max=512, group_size=4, pool_before_activation=True,
                     mirror=True, reset_optimizer=True, average_kimg=10),
    'minutes':  dict(latent_dim=64, fmap_base=192, fmap_max=48, group_size=4, pool_before_activation=True,
                     mirror=False, reset_optimizer=True, average_kimg=2)}

def at_each_side(schedule):
    "The states while each side is trained on its own"
    return {p.resolution:schedule(p.end-1) for p in schedule.phases if p.phase=='stabilize'}

@pytest.mark.parametrize('name,gpus', batches)
def test_batches_and_rates(name, gpus):
    got = at_each_side(preset(name, gpus=gpus)['schedule'])
    want = zip(sides, batches[name,gpus], rates[name,gpus])
    assert {r:(s.batch_size, s.learning_rate) for r,s in got.items()} == {r:(b, pytest.approx(lr/1000)) for r,b,lr in want if b}

@pytest.mark.parametrize('name,gpus', batches)
def test_phases_and_totals(name, gpus):
    s = preset(name, gpus=gpus)['schedule']
    start,stay,fade,total,resets = runs[name]
    assert s.total_images==1000*total and s.phases[0][:2]==('stabilize', start) and s.phases[-1][:2]==('stabilize', 1024)
    for p in s.phases[:-1]: assert p.end-p.start==1000*(stay if p.phase=='stabilize' else fade)
    assert len(s.state_changes())==resets

@pytest.mark.parametrize('name', rest)
@pytest.mark.parametrize('resolution', [16, 32, None])
def test_everything_else(name, resolution):
    p = preset(name, resolution)
    assert {k:v for k,v in p.items() if k not in ('schedule','loss')}==rest[name]

@pytest.mark.parametrize('name,gpus', batches)
@pytest.mark.parametrize('resolution', [32, 256, 1024])
def test_penalties_are_measured_at_the_size_that_the_run_ends_with(name, gpus, resolution):
    p = preset(name, resolution, gpus)
    want = NonSaturating(r1=10, full_resolution=resolution, r1_every=1) if name=='stylegan' else \
        WGANGP(penalty=10, target=1, drift=.001, full_resolution=resolution)
    assert p['loss']==want and p['schedule'].resolution==resolution

def test_the_native_strength_of_the_published_penalties():
    "A slope of 1 at 1024 is one of 256 at 4x4; R1's weight of 10 is one of 10/4^7 at 8x8"
    torch = pytest.importorskip('torch')
    w = torch.randn(3, 4, 4)
    D = lambda x: (x*w[:,:x.shape[-1],:x.shape[-1]]*256/w.norm()).sum((1,2,3))
    x,y = torch.randn(2, 6, 3, 4, 4)
    terms = lambda loss: sum(loss.discriminator_terms(D, x, y))
    assert terms(preset('paper')['loss']).item()==pytest.approx(terms(WGANGP(penalty=0)).item(), abs=1e-3)
    v = torch.randn(3, 8, 8)
    E = lambda x: (x*v).sum((1,2,3))
    x,y = torch.randn(2, 6, 3, 8, 8)
    official = sum(preset('stylegan')['loss'].discriminator_terms(E, x, y))
    native = sum(NonSaturating(r1=10/4**7).discriminator_terms(E, x, y))
    assert official.item()==pytest.approx(native.item(), rel=1e-5)

def test_minutes_is_what_the_search_found():
    p = preset('minutes')
    assert p['schedule']==GrowthSchedule.named('minutes', 32) and p['loss']==NonSaturating(r1=.1, r1_every=4)
    assert at_each_side(p['schedule'])[32][2:4]==(4, .008) and p['schedule'].total_images==51_500

def test_minutes_at_larger_sizes_has_a_penalty_as_much_heavier_as_there_are_more_pixels():
    for r,gamma,rate in ((8, .1, .008), (64, .4, .003), (128, 1.6, .003)):
        p = preset('minutes', r)
        assert p['schedule']==GrowthSchedule.named('minutes', r) and at_each_side(p['schedule'])[r][3]==rate
        assert p['loss']==NonSaturating(r1=gamma, r1_every=4)

def test_the_published_steps():
    steps = lambda *o: preset(*o)['schedule'].steps(every=4)
    assert steps('paper')==3_264_280 and steps('official')==1_354_672 and steps('official', None, 8)==277_728
    assert steps('stylegan', None, 8)==717_968 and steps('stylegan')==4_895_300

def test_averages_in_images():
    from math import log
    b = lambda r: at_each_side(preset('paper')['schedule'])[r].batch_size
    half = lambda r: log(.5)/log(preset('paper')['average_decay'])*b(r)/1000
    assert half(4)==pytest.approx(11.1, abs=.05) and half(1024)==pytest.approx(2.08, abs=.01)

@pytest.mark.parametrize('name', named_presets)
@pytest.mark.parametrize('resolution', [8, 32])
def test_smaller_runs_are_those_of_the_schedule(name, resolution):
    s = preset(name, resolution)['schedule']
    if name not in on_data: assert s==GrowthSchedule.named(name, resolution)
    if name in runs: assert s.total_images==1000*runs[name][3]

def test_no_preset_remembers_what_a_caller_changed():
    p = preset('official')
    p.update(mirror=False)
    p['loss'].target = 750.
    assert preset('official')['mirror'] is True and preset('official')['loss']==WGANGP(full_resolution=1024)
    assert named_presets['official']['mirror'] is True and preset('official')==preset('official')

def test_exactly_one_average():
    for name in named_presets: assert len({'average_decay','average_kimg'} & preset(name).keys())==1

@pytest.mark.parametrize('args,says', [
    (('progan',), 'no preset is named'), ((None,), 'paper, official, stylegan, minutes'), (('official', 64, 3), r'\[1, 2, 4, 8\], got 3'),
    (('paper', 64, 2), r'\[1\], got 2'), (('minutes', 32, 8), r'\[1\], got 8'), (('official', 60), 'nearest is 64'),
    (('official', 0), 'power of two'), (('stylegan', 4), 'start at 4 or below')])
def test_complaints(args, says):
    with pytest.raises(ValueError, match=says): preset(*args)

# --- presets on data: the authors' settings for one set, written out here

on_sets = { # side; kimg per stay, per fade, in all; minibatch at 4x4 and at the last side; networks; target; mirror
    'cifar10':   (32,   400,  400, 20000, 16, 16, (128, 4096, 128), 750, False),
    'mnist-rgb': (32,   500, 2000,  8000, 16, 16, (512, 8192, 512),   1, False),
    'celeba':    (128,  800,  800, 10000, 16, 16, (512, 2048, 512),   1, True),
    'celebahq':  (1024, 800,  800, 19000, 16,  3, (512, 8192, 512),   1, True),
    'lsun':      (256,  800,  800, 20000, 16, 16, (512, 8192, 512),   1, False)}

@pytest.mark.parametrize('name', on_sets)
def test_a_set_has_the_settings_of_the_paper(name):
    side,stay,fade,total,first,last,nets,target,mirror = on_sets[name]
    p = preset(name)
    s = p.pop('schedule')
    assert (s.resolution, s.start_resolution, s.total_images, preset_side(name))==(side, 4, 1000*total, side)
    assert {(o.phase, o.end-o.start) for o in s.phases[:-1]}=={('stabilize', 1000*stay), ('fade', 1000*fade)}
    at = at_each_side(s)
    assert (at[4].batch_size, at[side].batch_size)==(first, last) and {o.learning_rate for o in at.values()}=={.001}
    assert p.pop('loss')==WGANGP(penalty=10, target=target, drift=.001, full_resolution=side)
    assert p==dict(zip(('latent_dim','fmap_base','fmap_max'), nets), group_size=16, pool_before_activation=False, mirror=mirror, reset_optimizer=True, average_decay=.999)

@pytest.mark.parametrize('name,weights', [('cifar10', (1_296_908, 1_298_689)), ('celeba', (13_629_810, 13_636_897)), ('celebahq', (23_079_115, 23_087_249)), ('lsun', (23_044_309, 23_052_353))])
def test_the_networks_of_a_set_have_the_published_number_of_weights(name, weights):
    import torch
    from progrow.networks import Discriminator, Generator
    from helpers import count
    p = preset(name)
    sizes = {k:p[k] for k in ('fmap_base','fmap_max')}
    with torch.device('meta'): nets = Generator(preset_side(name), latent_dim=p['latent_dim'], **sizes), Discriminator(preset_side(name), **sizes)
    assert tuple(map(count, nets))==weights

def test_faces_of_ffhq_are_stylegans():
    for gpus in (1,8): assert preset('ffhq', gpus=gpus)==preset('stylegan', gpus=gpus)
    assert preset('ffhq')['loss'].r1==10

def test_a_set_can_be_changed_like_any_other_name():
    assert preset('cifar10:total_kimg=99,batch_size=8')['schedule'].total_images==99_000 and preset('cifar10', 16)['loss'].full_resolution==16
    assert preset_side('lsun:total_kimg=9')==256 and preset_side('official')==preset_side('minutes')==32
    with pytest.raises(ValueError, match=r"'paper' has numbers for gpus in \[1\]"): preset('cifar10', gpus=2)
    with pytest.raises(ValueError, match='take one of .*cifar10, celeba, celebahq, lsun, ffhq, mnist-rgb'): preset('cifar-10')

def test_a_run_ends_at_the_side_of_its_set():
    from progrow.train import pick_preset
    assert [pick_preset(o)['schedule'].resolution for o in ('celeba','lsun:total_kimg=9','official')]==[128, 256, 32]
    assert pick_preset('celeba', 64)['schedule'].resolution==64

# --- losses by name

@pytest.mark.parametrize('text,want', [
    ('wgan-gp', WGANGP()), ('lsgan', LSGAN()), ('non-saturating', NonSaturating(full_resolution=64)),
    ('wgan-gp:full', WGANGP(full_resolution=64)), ('wgan-gp:native', WGANGP()), ('non-saturating:full', NonSaturating(full_resolution=64)),
    ('non-saturating:native', NonSaturating()), ('wgan-gp:target=750,penalty=5', WGANGP(5., 750.)), ('wgan-gp: full , target=750', WGANGP(target=750., full_resolution=64)),
    ('non-saturating:r1=1,r1_every=16', NonSaturating(1., 64, 16)), ('wgan-gp:full_resolution=128', WGANGP(full_resolution=128)), ('lsgan:noise=0', LSGAN(noise=0.))])
def test_losses_by_name(text, want): assert pick_loss(text, 64)==want

def test_a_loss_is_copied():
    loss = LSGAN()
    loss._d_hat = .25
    got = pick_loss(loss, 64)
    assert got is not loss and got==loss and got._d_hat==.25

@pytest.mark.parametrize('text,says', [('hinge', 'wgan-gp, lsgan, non-saturating'), ('wgan-gp:lambda=10', 'penalty, target, drift'), ('wgan-gp:target=much', 'target=750'),
    ('lsgan:full', 'expected options'), ('non-saturating:r1', 'full or native'), ('wgan-gp:Full', 'full or native')])
def test_losses_that_are_not(text, says):
    with pytest.raises(ValueError, match=says): pick_loss(text, 64)

def test_imports_only_from_lower_numbers():
    code = "import sys, progrow.presets; print(sorted(m[8:] for m in sys.modules if m.startswith('progrow.')), 'fastai' in sys.modules)"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip()
    assert out=="['losses', 'presets', 'schedule'] False"
