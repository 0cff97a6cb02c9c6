"What holds for a run of ProGAN holds for one of StyleGAN: growth, resume to the last bit, averages, guards, classes, precision, processes. torchrun starts this file as a program, too."
import os, subprocess, sys
from contextlib import redirect_stdout
from pathlib import Path
import numpy as np, pytest, torch
from torch import distributed as dist
from fastai.callback.core import Callback
from progrow import guards
from progrow.callbacks import average_decay
from progrow.checkpoint import load_generator
from progrow.cost import memory_per_stage, seconds_per_image, step_cost
from progrow.data import ImagePyramid, pyramid_levels
from progrow.guards import FitsInMemory
from progrow.losses import Critic, NonSaturating
from progrow.metrics import evaluate
from progrow.schedule import GrowthSchedule
from progrow.style import StyleDiscriminator, StyleGenerator, style_config
from progrow.sampling import sample_images
from progrow.train import fit_progressive, progressive_learner, resume_run
from helpers import same
from runs import SaveAt, fit, left, weights

# 12 steps: 4 at 8x8, 4 of fade and 4 of rest at 16x16
brief = GrowthSchedule(16, start_resolution=8, stabilize_kimg=.016, fade_kimg=.016, batch_size=4, learning_rate=.002)
points = {'stage':8, 'fade':28} # images
small = dict(latent_dim=6, fmap_base=32, fmap_max=8, average_kimg=.05, seed=3, device='cpu')
pictures = pyramid_levels(np.random.default_rng(0).integers(0, 256, (64,3,16,16), dtype=np.uint8))

def make(config='F', labels=False, **kwargs):
    images = ImagePyramid(pictures, np.arange(64)%3 if labels else None)
    return progressive_learner(images, conditional=labels, **style_config(config, **{**small, 'schedule':brief, **kwargs}))

def strengthen(net, to=1.):
    "Noise that is seen; at the beginning it has no strength"
    for k,p in net.named_parameters():
        if k.endswith('noise.strength'): p.data.fill_(to)
    return net

# --- what either of two processes does, and what one does alone for comparison

short = GrowthSchedule(16, start_resolution=8, stabilize_kimg=.032, fade_kimg=.064, batch_size=16, learning_rate=.002) # 8 steps
jobs = {'F':dict(), 'lazy R1, classes, mirror':dict(labels=True, mirror=True, loss=NonSaturating(10., 64, r1_every=3))}

def trained(**kwargs):
    learn = make(schedule=short, **kwargs)
    G = strengthen(learn.model.generator, .3)
    G.blocks['4'].constant.data.normal_(generator=torch.Generator().manual_seed(0)) # AdaIN of a map that is one number enlarges rounding errors
    fit(learn)
    return {'loss':learn.gan_loss.state_dict(), **left(learn)}

if __name__=='__main__':
    torch.set_num_threads(1)
    fits = {k:trained(**kw) for k,kw in jobs.items()}
    torch.save(fits, Path(sys.argv[1])/f'rank{dist.get_rank()}.pt')
    sys.exit()

# --- growth

@pytest.mark.parametrize('config', 'ABCDEF')
def test_every_configuration_trains_and_grows_from_8(config):
    learn = make(config)
    before = weights(learn)
    fit(learn)
    after = weights(learn)
    assert [r[1] for r in learn.history.rows]==[8]*4+[16]*8 and learn.skipped==0
    assert all(v.isfinite().all() for v in after.values()) and learn.sample(3).shape==(3, 3, 16, 16)
    still = {k for k in before if torch.equal(before[k], after[k])}
    assert all('4' in k.split('.') and ('to_rgb' in k or 'from_rgb' in k) or k.endswith('.noise.noise') for k in still), still # never seen at 4x4
    assert isinstance(learn.model.generator, StyleGenerator)==(config>'A') and learn.gan_loss.__class__.__name__==('WGANGP' if config=='A' else 'NonSaturating')

# --- going on through files, to the last bit

variants = {'B':dict(config='B'), 'F':dict(), 'lazy R1':dict(loss='non-saturating:r1=1,r1_every=3'), 'labels, bf16':dict(labels=True, precision='bf16'), 'fp16':dict(precision='fp16')}

@pytest.mark.parametrize('kind', variants)
def test_going_on_from_a_file_changes_no_bit(kind, tmp_path):
    saving = fit(make(**variants[kind]), cbs=SaveAt(tmp_path, points.values()))
    whole = left(saving)
    assert all(v.isfinite().all() for k,v in whole.items() if k!='losses')
    if kind!='B': assert saving.model.averaged.w_avg.abs().max()>0
    for n in points.values():
        learn = make(**variants[kind])
        torch.manual_seed(n); np.random.seed(n)
        assert learn.resume(tmp_path/f'checkpoint-{n:09d}.pt').images_seen==n
        if kind=='lazy R1': assert learn.gan_loss.state_dict()=={'r1_step':n//4%3}!={'r1_step':0}
        fit(learn)
        assert same(left(learn), whole) and learn.gan_loss.state_dict()==saving.gan_loss.state_dict() and learn.skipped==saving.skipped

def test_the_steps_since_the_last_penalty_matter(tmp_path):
    "so the test above would notice if they were lost"
    kw = variants['lazy R1']
    learn = fit(make(**kw), cbs=SaveAt(tmp_path, [8]))
    other = make(**kw).resume(tmp_path/'checkpoint-000000008.pt')
    other.gan_loss.load_state_dict({'r1_step':0})
    assert not same(left(fit(other)), left(learn))

def test_mixing_and_noise_are_at_work():
    plain = make()
    plain.model.generator.mixing = 0.
    assert not same(left(fit(plain, 2)), left(fit(make(), 2)))
    G = strengthen(make('E').model.generator)
    z = torch.randn(2, 6)
    assert not torch.equal(G(z), G(z))

def test_a_folder_is_all_that_it_takes_to_go_on(tmp_path):
    images = ImagePyramid(pictures, np.arange(64)%3)
    kw = dict(style_config('F', schedule=brief, **small), conditional=True)
    class Stop(Callback):
        order = 95
        def after_batch(self):
            if self.images_seen==28: raise InterruptedError('told to')
    with pytest.raises(InterruptedError), open(os.devnull, 'w') as f, redirect_stdout(f): fit_progressive(images, path=tmp_path/'run', minutes=0, cbs=[Stop()], **kw)
    with pytest.warns(UserWarning, match='Stop'), open(os.devnull, 'w') as f, redirect_stdout(f): learn = resume_run(tmp_path/'run', images, device='cpu')
    whole = fit(make(labels=True))
    assert type(learn.model.generator) is StyleGenerator and type(learn.model.discriminator) is StyleDiscriminator and same(left(learn), left(whole))
    again = load_generator(tmp_path/'run'/'generator.pt')
    assert not again.training and torch.equal(again.w_avg, learn.model.averaged.w_avg)
    assert torch.equal(sample_images(again, 5, seed=2, psi=.7), learn.sample(5, seed=2, psi=.7))

# --- the averaged generator

def test_the_average_has_averaged_weights_and_the_newest_buffers():
    class Watch(Callback):
        order = 19 # just before `WeightAverage`
        def before_batch(self):
            a,g = self.model.averaged,self.model.generator
            beta = average_decay(4, .05)
            self.expected = {**{k:torch.lerp(p.detach(), dict(g.named_parameters())[k].detach(), 1-beta) for k,p in a.named_parameters()}, **{k:b.clone() for k,b in g.named_buffers()}}
            assert not a.training and g.training and not any(m.training for m in a.modules())
    learn = make()
    fit(learn, cbs=(watch := Watch()))
    m = learn.model
    assert m.averaged.state_dict().keys()==watch.expected.keys() and 'w_avg' in watch.expected
    for k,v in m.averaged.state_dict().items(): torch.testing.assert_close(v, watch.expected[k])
    kept = [k for k,_ in m.generator.named_buffers() if k.endswith('noise')]
    assert len(kept)==m.generator.n_layers and all(torch.equal(m.averaged.get_buffer(k), m.generator.get_buffer(k)) for k in kept)
    assert not torch.equal(m.averaged.w_avg, m.generator.w_avg) # the last step's is not in it yet, as with the weights
    m.train(); assert not m.averaged.training

def test_the_average_of_w_is_the_papers():
    "0.995 at each forward pass of training, in both players' steps"
    learn,seen = make('D'),[]
    G = learn.model.generator
    G.mapping.register_forward_hook(lambda m, args, w: seen.append(w.detach().mean(0)))
    fit(learn, 3)
    mean = torch.zeros(6)
    for w in seen: mean = .995*mean + .005*w
    assert len(seen)==2*len(learn.history.rows)>2
    torch.testing.assert_close(G.w_avg, mean)

# --- pictures from a seed

@pytest.fixture(scope='module')
def learned(): return fit(make())

def test_a_seed_draws_the_same_pictures_however_many(learned):
    state,G = torch.get_rng_state(),strengthen(make().model.averaged)
    a = sample_images(G, 5, seed=1)
    assert torch.equal(a, sample_images(G, 5, seed=1)) and torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(sample_images(G, 3, seed=1), a[:3]); torch.testing.assert_close(sample_images(G, 5, seed=1, batch_size=2), a)
    assert torch.equal(learned.sample(5, seed=1), learned.sample(5, seed=1))
    assert (sample_images(G, 5, seed=1, noise='random')-a).abs().max()>.01 and not torch.equal(sample_images(G, 5, seed=1, noise='off'), a)

def test_drawing_with_a_generator_that_trains_leaves_it_as_it_was():
    learn = make()
    G = learn.model.generator
    before = weights(learn)
    assert torch.equal(sample_images(G, 4), sample_images(G, 4)) and G.training and G.mapping.training
    after = weights(learn)
    assert all(torch.equal(before[k], after[k]) for k in before)
    with pytest.raises(ValueError, match='noise must be'): sample_images(strengthen(G), 4, noise='loud')
    assert G.training

def test_truncation(learned):
    one = learned.sample(4, psi=0.)
    assert torch.equal(one[:1].expand_as(one), one)
    half = learned.sample(4, psi=.5)
    assert not torch.equal(half, learned.sample(4)) and not torch.equal(half, learned.sample(4, psi=.5, psi_cutoff=2))
    torch.testing.assert_close(learned.sample(4, psi=0., psi_cutoff=0), learned.sample(4))

def test_training_never_truncates(monkeypatch):
    monkeypatch.setattr(StyleGenerator, 'truncate', lambda *args, **kwargs: pytest.fail('truncated'))
    assert fit(make(), 1).images_seen

def test_a_style_that_is_not_finite_leaves_their_average():
    G = StyleGenerator(8, latent_dim=4, fmap_max=4).train()
    G(torch.randn(4, 4)); before = G.w_avg.clone()
    G(torch.full((4,4), torch.nan))
    assert before.abs().sum()>0 and torch.equal(G.w_avg, before)

def test_evaluate_draws_with_new_noise_from_its_seed(learned, monkeypatch):
    import progrow.metrics as M
    seen = []
    monkeypatch.setattr(M, 'sample_images', lambda *args, **kw: seen.append((kw, torch.get_rng_state())) or sample_images(*args, **kw))
    G = strengthen(make().model.averaged)
    ask = lambda **kw: evaluate(G, learned.images, 'swd-quick', n=32, cache=False, **kw).values
    torch.manual_seed(5); state = torch.get_rng_state()
    a = ask()
    assert torch.equal(torch.get_rng_state(), state), 'the random state of others is left alone'
    torch.manual_seed(6); assert ask()==a!=ask(seed=1)
    assert [o[0].get('noise') for o in seen]==['random']*3 and torch.equal(seen[0][1], seen[1][1])
    evaluate(make('A').model.averaged, learned.images, 'swd-quick', n=32, cache=False)
    assert 'noise' not in seen[-1][0]
    assert evaluate(learned, learned.images, 'swd-quick', n=32, cache=False).settings['generator'].startswith('StyleGenerator')

# --- what is timed and counted moves nothing

def test_timing_counting_and_planning_leave_no_trace(capsys):
    learn = make(loss='non-saturating:r1_every=3')
    fit(learn, 2); before,state = left(learn),learn.gan_loss.state_dict()
    memory = memory_per_stage(learn.players, learn.schedule)
    assert set(seconds_per_image(learn.players, learn.images, learn.schedule, learn.images_seen))==set(memory)=={8,16} and memory[16]>memory[8]>0
    cost = lambda o: step_cost(o.model.generator, o.model.discriminator, o.gan_loss, 16, 4, .5)
    assert cost(learn)==pytest.approx(cost(make(loss='non-saturating:r1_every=3')), rel=.01)
    learn.dry_run(); learn.fits_in_memory.before_fit()
    assert 'total: 40 images' in capsys.readouterr().out and same(left(learn), before) and learn.gan_loss.state_dict()==state=={'r1_step':len(learn.history.rows)%3}
    learn.fit(1) # with its bar, which times
    assert same({k:v for k,v in left(learn).items() if k!='losses'}, {k:v for k,v in left(fit(make(loss='non-saturating:r1_every=3'), 3)).items() if k!='losses'})

def test_a_stage_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(guards, 'available_memory', lambda device: 100_000)
    with pytest.raises(ValueError, match='stage 8x8 with batch 4 needs about'): make().fit()
    assert fit(make().remove_cb(FitsInMemory), 1).images_seen # nobody wants to know

# --- numbers that are not finite

class Spoilt(NonSaturating):
    "Infinite in the third step"
    n = 0
    def discriminator_terms(self, D, real, fake, mix=None):
        self.n += 1
        for i,term in enumerate(super().discriminator_terms(D, real, fake, mix)): yield term*(float('nan') if self.n>=3 and i==0 and self.n<self.until else 1.)

def test_a_step_without_a_finite_loss_is_left_out(tmp_path):
    loss = Spoilt(10., 64); loss.until = 4
    learn = fit(make(loss=loss))
    assert learn.skipped==1 and all(v.isfinite().all() for k,v in left(learn).items() if k!='losses')
    assert learn.images_seen==48
    learn.save_checkpoint(tmp_path)

def test_step_after_step_without_a_finite_loss_stops_the_run():
    loss = Spoilt(10., 64); loss.until = 100
    learn = make(loss=loss)
    with pytest.raises(FloatingPointError, match='10 steps in a row'): fit(learn)
    assert all(v.isfinite().all() for k,v in weights(learn).items())

# --- classes

def test_a_label_chooses_the_score():
    learn = make(labels=True)
    G,D = learn.model.generator,learn.model.discriminator
    x,y = torch.randn(4, 3, 8, 8),torch.tensor([0,1,2,1])
    critic = learn.players.critic(1., y)
    assert G.num_classes==D.num_classes==3 and type(critic) is Critic # no AC-GAN
    scores = D.outputs(x)
    assert scores.shape==(4, 3) and torch.equal(critic(x), scores[range(4), y])
    critic(x)[:1].sum().backward()
    g = D.blocks['4'].dense1.weight.grad
    assert g[0].abs().max()>0 and not g[1:].any()
    learn = fit(learn)
    assert torch.equal(learn.sample(4), learn.sample(4, labels=[0,1,2,0])) and not torch.equal(learn.sample(4)[1], learn.sample(4, labels=[0]*4)[1])

def test_classes_need_labels():
    with pytest.raises(ValueError, match='have no labels'): progressive_learner(ImagePyramid(pictures), conditional=True, **style_config('F', schedule=brief, **small))

# --- two processes

@pytest.fixture(scope='module')
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two')
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'PYTHONWARNINGS':'ignore', 'MPLBACKEND':'agg'}
    p = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', __file__, folder], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert p.returncode==0, p.stdout[-4000:]
    return [torch.load(folder/f'rank{r}.pt') for r in (0,1)]

@pytest.mark.parametrize('job', jobs)
def test_two_processes_equal_one_with_the_whole_batch(two, job):
    first,second = (dict(o[job]) for o in two)
    one = trained(**jobs[job])
    assert first.pop('loss')==second.pop('loss')==one.pop('loss')==({'r1_step':2} if 'lazy' in job else {})
    assert same(first, second) and first.keys()==one.keys()
    parts = {k.split('.')[0] for k in one}
    flat = lambda d, p: torch.cat([v.flatten().double() for k,v in d.items() if k.split('.')[0]==p and not k.endswith('.noise.noise')])
    assert max(((flat(first, p)-flat(one, p)).norm()/flat(one, p).norm()).item() for p in parts)<1e-4
    for k in ('generator.w_avg','averaged.w_avg'): torch.testing.assert_close(first[k], one[k], rtol=1e-4, atol=1e-7); assert first[k].abs().max()>1e-3

def test_both_networks_know_the_same_classes():
    with pytest.raises(ValueError, match='different numbers of classes'):
        make(labels=True, discriminator=StyleDiscriminator(16, fmap_base=32, fmap_max=8))
