"A run that is stopped, killed, damaged or asked for too much: it goes on to the same weights, or says what is wrong."
import json, math, os, shutil, signal, time, warnings
import numpy as np, pytest, torch
from fastai.callback.core import Callback
from forks import Forks
from PIL import Image
from progrow.callbacks import read_log
from progrow.checkpoint import checkpoints, load_checkpoint, load_generator
from progrow.cost import step_cost, weights_memory
from progrow.data import image_pyramid
from progrow.guards import Checkpoints, FitsInMemory, Guard
from progrow.losses import LSGAN, NonSaturating, WGANGP
from progrow.networks import Discriminator, Generator
from progrow.runs import open_run
from progrow.schedule import GrowthSchedule
from progrow.sampling import sample_images
from progrow.train import fit_progressive, progressive_learner, resume_run
from helpers import same
from runs import SaveAt, StopAt, adam, fine, fit, moved, noise, short, tiny, weights
import progrow.guards

pytestmark = pytest.mark.filterwarnings('ignore:numpy.core:DeprecationWarning')

# 22 steps: 8 at 4x4, 6 of fade and 8 of rest at 8x8
brief = GrowthSchedule(8, stabilize_kimg=.032, fade_kimg=.024, batch_size=4, learning_rate={4:.001, 8:.002})
points = {'stage':16, 'border to a fade':32, 'fade':44, 'end of the fade':56, 'last stage':72}

def state(learn):
    "All that must be the same, as texts and tensors"
    rows = [(n, r, *(float(o).hex() for o in losses)) for n,r,*losses in learn.history.rows]
    return dict(weights=weights(learn), adam=adam(learn), strip=dict(learn.sample_strip.rows), images_seen=learn.images_seen, history=rows, skipped=learn.skipped,
                loss=learn.gan_loss.state_dict(), precision=learn.precision.state_dict(), phase=learn.model.phase)

def differs(a, b): return [k for k in a if not (same(a[k], b[k]) if k in ('weights','adam','strip') else a[k]==b[k])]

def check_points(make, folder, at):
    "Train a run that saves at these moments, and one from each of them on"
    saving = fit(make(), cbs=SaveAt(folder, at))
    whole = state(saving)
    for n in at:
        learn = make()
        torch.manual_seed(n); np.random.seed(n)
        assert learn.resume(folder/f'checkpoint-{n:09d}.pt').images_seen==n
        assert not (d := differs(state(fit(learn)), whole)), f'from {n} images: other {d}'
    return saving

# --- going on through files, to the last bit

variants = {
    'plain':dict(), 'mirror':dict(mirror=True), 'Adam kept':dict(reset_optimizer=False), 'labels':dict(conditional=True),
    'lsgan':dict(loss='lsgan:fake_weight=3'), 'non-saturating':dict(loss='non-saturating'), 'bf16':dict(precision='bf16'), 'fp16':dict(precision='fp16'),
    'no average':dict(average_kimg=0)}

def test_to_save_changes_no_bit(tmp_path):
    for kind in ('plain','fp16'):
        make = lambda: tiny(schedule=brief, **variants[kind])
        assert not differs(state(fit(make(), cbs=SaveAt(tmp_path, range(100)))), state(fit(make())))

@pytest.mark.parametrize('kind', variants)
def test_going_on_from_a_file_changes_no_bit(kind, tmp_path):
    images = noise(labels=np.arange(64)%3)
    saving = check_points(lambda: tiny(images, brief, **variants[kind]), tmp_path, [points[k] for k in (points if kind=='plain' else ('border to a fade','fade','last stage'))])
    if kind=='fp16': assert saving.precision.loss_scale<2**16 and saving.skipped>0
    if kind=='labels': assert saving.model.generator.num_classes==3

def test_going_on_in_the_middle_of_a_tick_changes_no_bit(tmp_path):
    "This schedule has ticks of two steps"
    assert fine.ticks()[0]==(0,8)
    check_points(lambda: tiny(schedule=fine), tmp_path, (44, 132, 252))

def test_going_on_with_batches_that_do_not_fit_the_phases_changes_no_bit(tmp_path):
    schedule = GrowthSchedule(8, stabilize_kimg=.034, fade_kimg=.022, batch_size={4:6, 8:4})
    check_points(lambda: tiny(schedule=schedule), tmp_path, (30, 36, 56))

def test_the_state_of_lsgans_noise_goes_on(tmp_path):
    "with a critic that is so sure of itself that the noise is at work"
    def make():
        learn = tiny(schedule=brief, loss=LSGAN(fake_weight=3.))
        learn.gan_loss.load_state_dict({'d_hat':.99})
        return learn
    assert fit(make(), 4).gan_loss.noise_strength>0
    check_points(make, tmp_path, (4, 16))
    quiet = make(); quiet.gan_loss.noise = 0.
    assert not same(weights(fit(make(), 2)), weights(fit(quiet, 2)))

def test_going_on_twice_from_the_same_file_changes_no_bit(tmp_path):
    "A learner that has trained on goes back to the checkpoint, too"
    learn = fit(tiny(schedule=brief), cbs=SaveAt(tmp_path, [16, 44]))
    whole = state(learn)
    for n in (44, 16): assert not differs(state(fit(learn.resume(tmp_path/f'checkpoint-{n:09d}.pt'))), whole)

def test_a_checkpoint_holds_plain_values_and_all_random_states(tmp_path):
    learn = fit(tiny(schedule=brief), 3)
    f = torch.load(learn.save_checkpoint(tmp_path), weights_only=True)
    assert (f['format'], f['version'], f['images_seen'], f['extra_callbacks'])==('progrow-checkpoint', 1, 12, [])
    assert set(f['random'])=={'torch','cuda','numpy','python'} and set(f['versions'])>={'progrow','torch','fastai'}
    assert f['settings']['schedule']['fade_kimg']==.024 and f['settings']['seed']==3 and set(f['callbacks'])>={'history','sample_strip'}

# --- killed, and told to stop

@pytest.fixture(scope='module')
def forks():
    if os.name!='posix': pytest.skip('needs os.fork')
    forks = Forks()
    yield forks
    forks.close()

@pytest.fixture(scope='module')
def unbroken(forks, tmp_path_factory):
    "The folder of a run that nobody disturbed"
    folder = tmp_path_factory.mktemp('unbroken')
    forks.run(folder)
    return folder/'run'

def end_of(run):
    "What the last checkpoint and the other files of a finished run say, without what may differ: times, and random numbers that nobody uses"
    c = load_checkpoint(run/'checkpoints')
    log = read_log(run).drop(columns=['images_per_second','seconds','peak_memory'])
    return dict(checkpoint=repr({k:c[k] for k in ('images_seen','settings','loss','precision','skipped')}), model={k:v for k,v in c['model'].items() if torch.is_tensor(v)},
        adam={f'{i}.{k}':v for i,s in c['optimizer']['state'].items() for k,v in s.items()}, history=c['callbacks']['history'], strip=c['callbacks']['sample_strip'],
        generator=torch.load(run/'generator.pt', weights_only=True)['weights'], log=log.to_json())

def check_end(run, unbroken):
    a,b = end_of(run),end_of(unbroken)
    for k in a: assert same(a[k], b[k]) if isinstance(a[k], dict) else a[k]==b[k], f'other {k}'
    assert sorted(o.name for o in run.iterdir())==sorted(o.name for o in unbroken.iterdir()) and not list(run.rglob('*.part'))

def test_killed_again_and_again_the_run_ends_the_same(forks, unbroken, tmp_path):
    "It saves after every step, so that many of the kills hit a save"
    rng,kills,in_saves,pace = np.random.default_rng(0),0,0,dict(zip('.(', (.1,.015))) # seconds of a step, and of a save
    for _ in range(60):
        forks.start(tmp_path, minutes=0)
        if kills<24:
            said,n = forks.until('b'),int(rng.integers(0, 3))
            what = '.('[rng.integers(2)] # a moment after the start of a step, or of a save
            if n or what=='(':
                begun = time.perf_counter()
                said += forks.until(what, n or 1)
                if what=='.': pace['.'] = (time.perf_counter()-begun)/n
            time.sleep(rng.random()*pace[what])
            code,late = forks.end(signal.SIGKILL)
        else: said,late = forks.until('x'),''; code,_ = forks.end()
        said += late
        if 'x' in said: break
        assert code==-signal.SIGKILL
        kills += 1; in_saves += said.count('(')>said.count(')')
    assert code==0, forks.out.read_text()
    assert kills>=20 and in_saves>=3, f'{kills} kills, {in_saves} of them in a save'
    check_end(tmp_path/'run', unbroken)

def test_killed_before_the_first_checkpoint_the_run_begins_again(forks, unbroken, tmp_path):
    forks.start(tmp_path); forks.until('.', 3)
    assert forks.end(signal.SIGKILL)[0]==-signal.SIGKILL and not (tmp_path/'run'/'checkpoints').exists()
    forks.run(tmp_path)
    check_end(tmp_path/'run', unbroken)

@pytest.mark.parametrize('sig,code', [(signal.SIGINT,130), (signal.SIGTERM,143), (signal.SIGHUP,129)], ids=('Ctrl-C','SIGTERM','SIGHUP'))
@pytest.mark.parametrize('path', ('run', None))
def test_told_to_stop_a_run_saves_and_says_how_to_go_on(forks, unbroken, tmp_path, sig, code, path):
    forks.start(tmp_path, path=path); said = forks.until('.', 13)
    got,late = forks.end(sig)
    run = tmp_path/'run' if path else next((tmp_path/'runs').iterdir())
    text = forks.out.read_text()
    assert got==code and (said+late).count('(')==1, text
    kept, = checkpoints(run/'checkpoints')
    assert 52<=int(kept.stem[11:])<=64 and 'Stopped after' in text and 'To go on, make the same call again' in text and str(kept.name) in text and 'Traceback' not in text
    if path:
        forks.run(tmp_path)
        assert 'Going on with run' in forks.out.read_text()
        check_end(run, unbroken)

def test_a_second_ctrl_c_stops_at_once(forks, tmp_path):
    forks.start(tmp_path, slow=5); forks.until('s')
    begun = time.perf_counter()
    os.kill(forks.pid, signal.SIGINT); time.sleep(.3)
    assert forks.listen(0)=='' # it waits for the end of the step
    code,said = forks.end(signal.SIGINT)
    assert code==130 and '(' not in said and time.perf_counter()-begun<20 and not (tmp_path/'run'/'checkpoints').exists()

def test_a_full_disk_does_not_stop_a_run(forks, unbroken, tmp_path):
    "From the 9th step to the 24th no checkpoint can be written"
    forks.start(tmp_path, minutes=0, stop_full=[9,25]); said = forks.until('.', 20)
    assert [o.name for o in checkpoints(tmp_path/'run'/'checkpoints')]==[f'checkpoint-{n:09d}.pt' for n in (36,32,28)] and not list(tmp_path.rglob('*.part'))
    forks.until('x'); code,_ = forks.end()
    text = forks.out.read_text()
    assert code==0 and 'no checkpoint at 0.1 kimg' in text and 'Training goes on' in text and 'free some space' in text, text
    check_end(tmp_path/'run', unbroken)

def test_a_disk_that_is_full_at_the_end_is_an_error_that_says_so(forks, unbroken, tmp_path):
    forks.start(tmp_path, stop_full=[9,100]); forks.until('x'); code,_ = forks.end()
    text = forks.out.read_text()
    assert code==1 and 'File too large' in text and 'free some space' in text, text
    forks.run(tmp_path)
    check_end(tmp_path/'run', unbroken)

# --- the wrong checkpoint

quick = dict(latent_dim=6, fmap_base=32, fmap_max=8, average_kimg=.05, seed=3, device='cpu', schedule=brief)

@pytest.fixture(scope='module')
def saved(tmp_path_factory): return fit(tiny(schedule=brief), 4).save_checkpoint(tmp_path_factory.mktemp('saved'))

other_pictures = image_pyramid(np.random.default_rng(1).integers(0, 256, (64,3,16,16), dtype=np.uint8), 16, 3, cache=False)
others = [
    (dict(seed=4), 'seed: the checkpoint has 3, this run 4'), (dict(mirror=True), 'mirror: the checkpoint has False, this run True'),
    (dict(loss='lsgan'), "loss.name: the checkpoint has 'WGANGP', this run 'LSGAN'"), (dict(loss=WGANGP(target=750.)), r'loss\.target'),
    (dict(schedule=GrowthSchedule(8, stabilize_kimg=.04, fade_kimg=.024, batch_size=4)), r'schedule\.stabilize_kimg: the checkpoint has 0.032, this run 0.04'),
    (dict(schedule=short), r'schedule\.resolution: the checkpoint has 8, this run 16'),
    (dict(images=other_pictures), r'images\.digest'), (dict(images=noise(32)), r'images\.count: the checkpoint has 64, this run 32'),
    (dict(fmap_max=16), r'generator\.fmap_max: the checkpoint has 8, this run 16'), (dict(latent_dim=7), r'generator\.latent_dim'),
    (dict(reset_optimizer=False), 'reset_optimizer'), (dict(average_kimg=1.), 'average_kimg')]

@pytest.mark.parametrize('args,says', others, ids=[next(iter(a)) for a,_ in others])
def test_a_checkpoint_of_other_settings_is_refused_and_changes_nothing(saved, args, says):
    learn = fit(tiny(**{**dict(schedule=brief), **args}), 1)
    before,rng = state(learn),torch.get_rng_state()
    with pytest.raises(ValueError, match=says): learn.resume(saved)
    assert not differs(before, state(learn)) and torch.equal(rng, torch.get_rng_state())

def test_a_longer_schedule_may_go_on(saved):
    longer = GrowthSchedule(**{**{k:getattr(brief, k) for k in brief.__dataclass_fields__}, 'total_kimg':.12})
    assert not differs(state(fit(tiny(schedule=longer).resume(saved))), state(fit(tiny(schedule=longer))))

def test_another_learning_rate_and_batch_size_may_go_on(saved, capsys):
    learn = tiny(schedule=GrowthSchedule(**{**{k:getattr(brief, k) for k in brief.__dataclass_fields__}, 'learning_rate':.0005, 'batch_size':8})).resume(saved)
    assert 'changed: schedule.learning_rate' in (said := capsys.readouterr().out) and 'changed: schedule.batch_size: the checkpoint has 4, this run 8' in said
    assert fit(learn).images_seen==88

def test_callbacks_that_are_missing_are_missed(tmp_path):
    class Clip(Callback): pass
    file = fit(tiny(schedule=brief, cbs=[Clip()]), 2).save_checkpoint(tmp_path)
    with pytest.warns(UserWarning, match='Clip.*cbs='): tiny(schedule=brief).resume(file)

def test_a_run_that_went_back_goes_on_from_there(tmp_path):
    learn = fit(tiny(schedule=brief), 2)
    file = learn.save_checkpoint(tmp_path)
    fit(learn, 3).save_checkpoint(tmp_path)
    fit(learn.resume(file), 1).save_checkpoint(tmp_path)
    here = state(learn)
    assert not differs(here, state(tiny(schedule=brief).resume(tmp_path)))

def test_weights_of_other_shapes_are_refused_before_anything_is_loaded(saved):
    learn = tiny(schedule=brief)
    learn.model.generator.to_rgb['4'].weight = torch.nn.Parameter(torch.zeros(3, 5, 1, 1))
    learn.create_opt()
    before = state(learn)
    with pytest.raises(ValueError, match=r'generator\.to_rgb\.4\.weight'): learn.resume(saved)
    assert not differs(before, state(learn))

def wrong(*path, value=None):
    "Change a checkpoint: something else stands there, or nothing; the digest is gone"
    def change(c):
        c.pop('digest')
        *way,last = path
        for k in way: c = c[k]
        if value is None: del c[last]
        else: c[last] = value
    return change

@pytest.mark.parametrize('change,says', [
    *[(wrong(k), f'this checkpoint has no {k}') for k in ('settings','arguments','skipped','extra_callbacks','callbacks','model','optimizer','loss','precision','random')],
    (wrong('settings', 'schedule'), 'no settings.schedule'), (wrong('settings', 'generator', 'network'), 'no settings.generator.network'), (wrong('settings', 'precision'), 'no settings.precision'),
    (wrong('settings', 'seed', value=torch.ones(3)), 'tensors among its settings'), (wrong('skipped', value='x'), 'a str as skipped, not a int'), (wrong('extra_callbacks', value=[{}]), 'callbacks without a name'),
    (wrong('model', '_extra_state', value={'images_seen':7, 'phase':None}), 'in two ways'), (wrong('model', 'generator.to_rgb.4.bias'), 'to_rgb.4.bias are missing'),
    (wrong('model', 'wing', value=torch.ones(2)), "'wing' are more"), (wrong('model', 'discriminator.from_rgb.4.bias', value='x'), 'are a str'),
    (wrong('optimizer', 'state', 0, 'exp_avg', value=torch.ones(2)), 'exp_avg'), (wrong('optimizer', 'state', 0, 'step'), 'no optimizer.0.step'), (wrong('optimizer', 'state', 99, value={}), 'more weights'),
    (wrong('optimizer', 'param_groups', 0, 'params', value=[1]), 'of other weights'), (wrong('optimizer', 'param_groups', 0), 'of other weights'), (wrong('optimizer', 'param_groups', 0, 'lr', value='x'), 'of other weights'),
    (wrong('loss', 'wing', value=1), 'WGANGP cannot take up'), (wrong('callbacks', 'history', value=[1]), 'History cannot take up'), (wrong('callbacks', 'sample_strip', value={'x':1}), 'SampleStrip cannot take up'),
    (wrong('random', 'torch', value=torch.zeros(3)), 'random states'), (wrong('random', 'python'), 'random states')])
def test_a_checkpoint_that_lacks_something_is_refused_before_anything_changes(saved, tmp_path, change, says):
    c = torch.load(saved, weights_only=True)
    change(c)
    torch.save(c, tmp_path/saved.name)
    learn = fit(tiny(schedule=brief), 2)
    before,rng = state(learn),torch.get_rng_state()
    with pytest.raises(ValueError, match=says): learn.resume(tmp_path/saved.name)
    assert not differs(before, state(learn)) and torch.equal(rng, torch.get_rng_state())

def test_a_checkpoint_names_what_is_read_but_no_place_to_write_to(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv('PROGROW_CACHE', str(tmp_path/'cache'))
    with pytest.raises(PowerCut): fit_progressive(pictures, path=tmp_path/'run', minutes=0, cbs=cut(3), cache=str(tmp_path/'elsewhere'), **quick)
    shutil.rmtree(tmp_path/'elsewhere')
    found = open_run(tmp_path/'run')
    assert found.arguments=={'images':str(pictures)} and len(found.pictures())==24
    assert resume_run(tmp_path/'run', device='cpu').images_seen==88 and not (tmp_path/'elsewhere').exists()

@pytest.mark.parametrize('change,says', [(wrong('settings'), 'no settings'), (wrong('settings', 'schedule', 'resolution'), 'schedule that cannot be made again'), (wrong('settings', 'schedule', 'wing', value=1), 'schedule that cannot be made again'),
                                         (wrong('images_seen', value=-4), 'seen -4 images')])
def test_a_run_that_cannot_be_opened_says_why(saved, tmp_path, change, says):
    c = torch.load(saved, weights_only=True)
    change(c)
    torch.save(c, tmp_path/saved.name)
    with pytest.raises(ValueError, match=says): open_run(tmp_path/saved.name)

def test_names_of_classes_travel_with_a_run(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv('PROGROW_CACHE', str(tmp_path/'cache'))
    learn = fit_progressive(pictures, labels='folders', conditional=True, path=tmp_path/'run', **quick)
    assert load_generator(tmp_path/'run'/'generator.pt').classes==['a','b']==open_run(tmp_path/'run').generator().classes
    assert load_generator(tiny(schedule=brief).export(tmp_path/'g.pt')).classes is None

class Quiet(Generator):
    "It keeps no config of its own argument"
    def __init__(self, resolution, volume, **sizes): super().__init__(resolution, **sizes); self.volume = volume

def test_networks_that_could_not_be_read_are_refused_before_the_first_step():
    G = Quiet(8, 3, latent_dim=6, fmap_max=8)
    with pytest.raises(ValueError, match=r'Quiet\(\*\*config\) does not make this Quiet again.*all arguments of its class by name'): tiny(noise(resolution=8), brief, generator=G)
    del G.config
    with pytest.raises(ValueError, match='the Quiet has no config'): tiny(noise(resolution=8), brief, generator=G)
    G.config = dict(resolution=8, volume=np.float64(3), latent_dim=6, fmap_max=8)
    with pytest.raises(ValueError, match="'volume' in the config of the Quiet is no number"): tiny(noise(resolution=8), brief, generator=G)
    G.config['volume'] = 3
    G.config.update(image_channels=3, fmap_base=8192, num_classes=0)
    assert tiny(noise(resolution=8), brief, generator=G).model.generator is G

def test_another_precision_may_go_on(saved, tmp_path):
    learn = fit(tiny(schedule=brief, precision='bf16').resume(saved))
    assert learn.images_seen==88 and learn.precision.name=='bf16'
    half = fit(tiny(schedule=brief, precision='fp16'), 4).save_checkpoint(tmp_path)
    assert fit(tiny(schedule=brief).resume(half)).precision.loss_scale==1

class PowerCut(RuntimeError): pass
def cut(steps): return [StopAt('after_batch', steps, PowerCut('the power is gone'), 95)]

def run(path, steps=None, **kwargs):
    "One call, which may end in a power cut after so many steps"
    if not steps: return fit_progressive(noise(resolution=8), path=path, **{**quick, **kwargs})
    with pytest.raises(PowerCut): fit_progressive(noise(resolution=8), path=path, minutes=0, cbs=cut(steps), **{**quick, **kwargs})

def damage(path): b = bytearray(path.read_bytes()); b[len(b)//2] ^= 4; path.write_bytes(b)

@pytest.fixture(scope='module')
def once(): return fit(tiny(noise(resolution=8), brief))

def test_a_damaged_checkpoint_is_passed_over_with_a_warning(once, tmp_path):
    run(tmp_path, 10)
    newest,*older = checkpoints(tmp_path/'checkpoints')
    assert len(older)==2
    damage(newest)
    with pytest.warns(UserWarning, match=f'passing over.*{newest.name}'): learn = run(tmp_path)
    assert not differs(state(learn), state(once))

def test_if_all_are_damaged_it_is_said_so_and_nothing_is_lost(tmp_path):
    run(tmp_path, 4)
    for o in checkpoints(tmp_path/'checkpoints'): damage(o)
    before = {o:o.read_bytes() for o in tmp_path.rglob('*.*') if o.is_file()}
    with pytest.raises(ValueError, match='none of the 3 checkpoints.*another folder'): run(tmp_path)
    assert before=={o:o.read_bytes() for o in tmp_path.rglob('*.*') if o.is_file()}

def test_a_folder_in_use_is_refused_if_asked(tmp_path):
    run(tmp_path, 3)
    with pytest.raises(ValueError, match='holds a run: go on with it.*another path'): run(tmp_path, resume=False)
    with pytest.raises(ValueError, match='seed: the checkpoint has 3, this run 5'): run(tmp_path, seed=5)
    assert run(tmp_path/'new', resume=False).images_seen==88

def test_a_finished_run_called_again_trains_nothing(once, tmp_path, capsys):
    a = run(tmp_path); before = {o.name:o.stat().st_mtime_ns for o in (tmp_path/'checkpoints').iterdir()}; capsys.readouterr()
    b = run(tmp_path)
    assert 'Nothing left to train' in capsys.readouterr().out
    assert torch.equal(a.sample(5), b.sample(5)) and not differs(state(a), state(b)) and not differs(state(a), state(once))
    assert before=={o.name:o.stat().st_mtime_ns for o in (tmp_path/'checkpoints').iterdir()}
    assert torch.equal(sample_images(load_generator(tmp_path/'generator.pt'), 5), b.sample(5))

def test_the_folder_of_a_run(tmp_path):
    run(tmp_path)
    assert sorted(o.name for o in tmp_path.iterdir())==['checkpoints','generator.pt','log.jsonl','losses.png','samples.png','settings.json','sheets','strip.png']
    assert [o.name for o in checkpoints(tmp_path/'checkpoints')]==['checkpoint-000000088.pt']
    log,told = read_log(tmp_path),json.loads((tmp_path/'settings.json').read_text())
    assert list(1000*log.kimg)==list(range(4, 89, 4)) and set(log.resolution)=={4,8} and log.critic_loss.notna().all()
    assert told['settings']['seed']==3 and told['versions']['torch']

def test_without_a_path_a_short_run_writes_nothing_and_a_long_one_checkpoints(once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(None)
    assert not os.listdir(tmp_path)
    run(None, 10)
    folder, = (tmp_path/'runs').iterdir()
    assert os.listdir(folder)==['checkpoints'] and folder.name.startswith('images-8-')
    assert not differs(state(run(None)), state(once))

def test_rows_logged_after_the_checkpoint_do_not_repeat(once, tmp_path):
    run(tmp_path, 10)
    for o in checkpoints(tmp_path/'checkpoints')[:2]: o.unlink() # as if the run had saved for the last time two steps earlier
    with open(tmp_path/'log.jsonl', 'a') as f: f.write('{"kimg": 0.0')
    learn = run(tmp_path)
    assert list((1000*read_log(tmp_path).kimg).round())==list(range(4, 89, 4)) and not differs(state(learn), state(once))

# --- nothing but the folder

def test_a_run_on_a_builtin_set_goes_on_from_its_folder(tmp_path):
    whole = fit_progressive('digits', path=tmp_path/'a', **quick)
    with pytest.raises(PowerCut): fit_progressive('digits', path=tmp_path/'b', minutes=0, cbs=cut(9), **quick)
    learn = resume_run(tmp_path/'b', device='cpu')
    assert not differs(state(learn), state(whole)) and learn.arguments=={'images':'digits'}
    assert (tmp_path/'b'/'generator.pt').exists()

def test_a_folder_named_like_a_builtin_set_does_not_take_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'digits').mkdir()
    assert progressive_learner('digits', **quick).arguments=={'images':'digits'}

@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "24 pictures in two folders"
    folder,rng = tmp_path_factory.mktemp('pictures'),np.random.default_rng(0)
    for i in range(24):
        (folder/'ab'[i%2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8,8,3), dtype=np.uint8)).save(folder/'ab'[i%2]/f'{i:02}.png')
    return folder

def test_a_run_on_a_folder_of_images_goes_on_from_its_folder(pictures, tmp_path, monkeypatch):
    "Labels and losses included; also where the images have been moved since"
    monkeypatch.setenv('PROGROW_CACHE', str(tmp_path/'cache'))
    monkeypatch.chdir(pictures.parent)
    kw = dict(labels='folders', conditional=True, loss=NonSaturating(5., 64), mirror=True, reset_optimizer=False, **quick)
    whole = fit_progressive(pictures.name, path=tmp_path/'a', **kw)
    with pytest.raises(PowerCut): fit_progressive(pictures.name, path=tmp_path/'b', minutes=0, cbs=cut(9), **kw)
    monkeypatch.chdir(tmp_path)
    learn = resume_run(tmp_path/'b', device='cpu')
    assert not differs(state(learn), state(whole)) and {**learn.settings, 'images':0}=={**whole.settings, 'images':0} and learn.model.generator.num_classes==2
    with pytest.raises(PowerCut): fit_progressive(pictures, path=tmp_path/'c', minutes=0, cbs=cut(9), **kw)
    moved = pictures.rename(pictures.with_name('moved'))
    try:
        with pytest.raises((ValueError,OSError), match='pictures'): resume_run(tmp_path/'c', device='cpu')
        assert not differs(state(resume_run(tmp_path/'c', moved, device='cpu')), state(whole))
    finally: moved.rename(pictures)

def test_a_run_on_images_in_memory_needs_them(once, tmp_path):
    run(tmp_path, 9)
    with pytest.raises(ValueError, match='in memory.*give the images'): resume_run(tmp_path, device='cpu')
    assert not differs(state(resume_run(tmp_path, noise(resolution=8), device='cpu')), state(once))

def test_a_run_with_networks_or_losses_of_its_own_says_how_to_go_on(tmp_path):
    class Own(WGANGP): pass
    run(tmp_path, 3, loss=Own())
    with pytest.raises(ValueError, match='Own of its own, which only the program that made it'): resume_run(tmp_path, noise(resolution=8), device='cpu')
    assert run(tmp_path, loss=Own()).images_seen==88

def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no .*checkpoint'): resume_run(tmp_path)

# --- guards

class Poison(Callback):
    "Make a gradient infinite in these steps: even ones are the critic's, odd ones the generator's"
    order = 7
    def __init__(self, steps, number=math.inf): self.steps,self.number,self.i = steps,number,-1
    def before_step(self):
        self.i += 1
        if self.i in self.steps: next(p.grad for p in self.model.parameters() if p.grad is not None).view(-1)[0] = self.number

class Watch(Callback):
    "What moved in each batch"
    order = 60
    def before_fit(self): self.seen = []
    def before_batch(self): self.before = weights(self.learn)
    def after_batch(self): self.seen.append(moved(self.before, weights(self.learn))-{'averaged'})

@pytest.mark.parametrize('number', (math.inf, -math.inf, math.nan), ids=str)
def test_a_step_with_a_bad_gradient_is_left_out_and_the_other_player_goes_on(number):
    learn,watch = tiny(schedule=brief, cbs=[Poison({2,7}, number)]),Watch()
    fit(learn, 5, cbs=watch)
    both = {'generator','discriminator'}
    assert watch.seen==[both, {'generator'}, both, {'discriminator'}, both]
    assert learn.skipped==2 and learn.skipped_in_a_row==0 and learn.images_seen==20
    assert all(v.isfinite().all() for v in weights(learn).values()) and all(v.isfinite().all() for s in adam(learn).values() for v in s.values())
    assert all(p.grad is None for p in learn.model.parameters())

class Spoilt(WGANGP):
    "A loss that is not a number, but whose gradients are finite"
    def __init__(self, critic=(), generator=()): super().__init__(); self.bad,self.i,self.j = (critic, generator),-1,-1
    def discriminator_terms(self, *args):
        self.i += 1
        for o in super().discriminator_terms(*args): yield o+(math.nan if self.i in self.bad[0] else 0)
    def generator_loss(self, *args):
        self.j += 1
        return super().generator_loss(*args)+(math.nan if self.j in self.bad[1] else 0)

def test_a_step_with_a_bad_loss_is_left_out():
    learn,watch = tiny(schedule=brief, loss=Spoilt((1,2), (2,))),Watch()
    fit(learn, 4, cbs=watch)
    both = {'generator','discriminator'}
    assert watch.seen==[both, {'generator'}, set(), both] and learn.skipped==3

def test_skipped_steps_are_shown_and_logged(tmp_path, capsys):
    learn = run(tmp_path, cbs=[Poison({2,4})])
    assert learn.skipped==2 and '2 steps were skipped' in capsys.readouterr().out and list(read_log(tmp_path).skipped[:4])==[0,1,2,2]
    assert load_checkpoint(tmp_path/'checkpoints')['skipped']==2

@pytest.mark.parametrize('who', ('both','critic','generator'))
def test_a_run_in_which_step_after_step_fails_stops_and_names_the_last_good_checkpoint(tmp_path, who):
    "also if only one of the players is lost"
    bad = range(4, 1000)
    learn = tiny(schedule=fine, loss=Spoilt(bad if who!='generator' else (), bad if who!='critic' else ()))
    with pytest.raises(FloatingPointError, match=r"steps in a row.*not finite.*last good checkpoint is .*checkpoint-000000016\.pt") as e:
        fit(learn, cbs=Checkpoints(tmp_path, minutes=0, keep=2))
    assert [o.name for o in checkpoints(tmp_path)][0]=='checkpoint-000000016.pt' and learn.images_seen<=60
    assert all(v.isfinite().all() for v in weights(learn).values())

def test_the_patience_of_the_guard_can_be_chosen():
    learn = tiny(schedule=brief, loss=Spoilt(range(2, 99), range(2, 99))).remove_cbs([Guard]).add_cb(Guard(patience=4))
    with pytest.raises(FloatingPointError, match='4 steps in a row.*There is no checkpoint'): fit(learn)
    assert learn.images_seen==24

@pytest.mark.parametrize('part', ('generator','discriminator'))
def test_networks_that_are_not_finite_are_never_saved(part, tmp_path):
    learn = fit(tiny(schedule=brief), 2)
    good = learn.save_checkpoint(tmp_path)
    with torch.no_grad(): next(getattr(learn.model, part).parameters()).view(-1)[0] = math.nan
    fit(learn.remove_cbs([Guard]), 1)
    with pytest.raises(FloatingPointError, match='not finite.*go back to a checkpoint'): learn.save_checkpoint(tmp_path)
    assert checkpoints(tmp_path)==[good]
    with warnings.catch_warnings(record=True) as w, pytest.raises(FloatingPointError, match='not finite'):
        warnings.simplefilter('always')
        fit(learn, 2, cbs=Checkpoints(tmp_path, minutes=0))
    assert any('no checkpoint' in str(o.message) for o in w) or learn.skipped_in_a_row
    assert checkpoints(tmp_path)==[good]
    assert all(v.isfinite().all() for v in weights(learn.resume(tmp_path)).values())

def test_looking_for_the_scale_of_fp16_is_no_reason_to_stop():
    learn = tiny(schedule=brief, precision='fp16').remove_cbs([Guard]).add_cb(Guard(patience=1))
    fit(learn)
    assert learn.images_seen==88 and learn.skipped>0 and all(v.isfinite().all() for v in weights(learn).values())

def test_fp16_with_nothing_but_bad_numbers_stops_too():
    with pytest.raises(FloatingPointError, match="fp32"): fit(tiny(schedule=fine, precision='fp16', loss=Spoilt(range(999), range(999))))

# --- before the work

def test_a_dry_run_trains_nothing_and_agrees_with_the_schedule(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn = fit_progressive(noise(resolution=8), path=tmp_path/'out', dry_run=True, **quick)
    out,t = capsys.readouterr().out,learn.table
    assert learn.images_seen==0 and not os.listdir(tmp_path) and same(weights(learn), weights(tiny(noise(resolution=8), brief)))
    assert list(t.phase)==[p.phase for p in brief.phases] and list(t.resolution)==[4,8,8] and list(t.images)==[32,24,32]
    assert list(t.batch)==[4]*3 and list(t.steps)==[8,6,8] and list(t.learning_rate)==[.001,.002,.002] and list(t.from_kimg)==[0,.032,.056]
    assert (t.seconds>0).all() and (t.memory>0).all() and '88 images, 22 steps' in out
    assert 'fade' in out and 'stabilize' in out

def test_a_dry_run_of_a_run_half_done_shows_the_rest(saved, capsys):
    learn = tiny(schedule=brief).resume(saved).dry_run()
    assert list(learn.table.images)==[16,24,32] and learn.images_seen==16

@pytest.mark.parametrize('kind', ('plain','lsgan','labels','fp16'))
def test_a_dry_run_and_a_bar_change_no_bit_of_what_follows(kind):
    make = lambda: tiny(noise(labels=np.arange(64)%3), brief, **variants[kind])
    a,b = fit(make(), 10),make().dry_run()
    b.fit(5); b.dry_run(); b.fit(5) # with a bar, which times the steps
    assert not differs(state(a), state(b))

def test_a_stage_that_does_not_fit_is_refused_before_it_starts(monkeypatch):
    learn = tiny()
    G,D = learn.model.generator,learn.model.discriminator
    need = {r: step_cost(G, D, learn.gan_loss, r, 16, .5).memory+weights_memory(G, D).adam for r in (4,8,16)}
    assert need[4]<need[8]<need[16]
    monkeypatch.setattr(progrow.guards, 'available_memory', lambda device: (need[8]+need[16])//2)
    with pytest.raises(ValueError, match=r'stage 16x16 with batch 16 needs about .*are free.*batch_size=\{\.\.\., 16:'): fit(learn)
    assert learn.images_seen==0 and same(weights(learn), weights(tiny()))
    monkeypatch.setattr(progrow.guards, 'available_memory', lambda device: need[16])
    assert fit(learn, 1).images_seen==16
    for free in (None, 0):
        monkeypatch.setattr(progrow.guards, 'available_memory', lambda device: free)
        if free==0: learn.remove_cb(FitsInMemory)
        fit(learn, 1) # nobody knows, or nobody wants to know
    assert learn.images_seen==48

# --- labels and noise

def labelled(labels=np.arange(64)%3): return noise(resolution=8, labels=labels)

@pytest.fixture(scope='module')
def classes(): return fit(tiny(labelled(), brief, conditional=True))

def test_labels_reach_both_networks(classes):
    m = classes.model
    assert m.generator.num_classes==3 and m.discriminator.config['num_classes']==3
    other = fit(tiny(labelled(np.arange(64)//22), brief, conditional=True))
    for part in ('generator','discriminator'):
        assert any(k.startswith(part) and not torch.equal(a, weights(other)[k]) for k,a in weights(classes).items())
    start = weights(tiny(labelled(), brief, conditional=True))
    inputs = 'generator.blocks.4.dense.weight'
    assert (start[inputs]!=weights(classes)[inputs]).flatten(1).any(0)[:].any() and moved(start, weights(classes))=={'generator','discriminator','averaged'}

def test_samples_differ_by_label(classes, tmp_path):
    a,b = (classes.sample(4, seed=1, labels=[k]*4) for k in (0,1))
    assert not torch.allclose(a, b) and torch.equal(a, classes.sample(4, seed=1, labels=[0]*4))
    assert torch.equal(classes.sample(4, seed=1), classes.sample(4, seed=1, labels=[0,1,2,0])) # all in turn
    G = load_generator(classes.export(tmp_path/'g.pt'))
    assert torch.equal(sample_images(G, 4, seed=1, labels=[1]*4), b)
    with pytest.raises(ValueError, match='3 labels for 4 pictures'): classes.sample(4, labels=[0,1,2])
    with pytest.raises(ValueError, match='from 0 to 2'): classes.sample(1, labels=[3])

@pytest.mark.parametrize('loss', ('lsgan','non-saturating'))
def test_labels_go_with_every_loss(loss):
    learn = fit(tiny(labelled(), brief, conditional=True, loss=loss))
    assert learn.images_seen==88 and all(v.isfinite().all() for v in weights(learn).values())

def test_a_critic_learns_to_tell_classes():
    "Pictures of one colour each"
    y = np.arange(64)%3
    x = np.zeros((64,3,4,4), np.uint8); x[np.arange(64),y] = 255
    images = image_pyramid(x, 4, labels=y, cache=False)
    learn = fit(tiny(images, GrowthSchedule(4, stabilize_kimg=1.2, batch_size=16, learning_rate=.005), conditional=True))
    logits = learn.model.discriminator.scores_and_logits(images.batch(range(64), 4))[1]
    assert (logits.argmax(1).numpy()==y).mean()>.9

def test_classes_from_folders(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv('PROGROW_CACHE', str(tmp_path/'cache'))
    learn = fit(progressive_learner(pictures, labels='folders', conditional=True, **quick), 9)
    assert learn.images.label_names==['a','b'] and learn.model.generator.num_classes==2 and learn.sample(3).shape==(3,3,8,8)

@pytest.mark.parametrize('args,says', [
    (dict(images=noise(resolution=8), conditional=True), "no labels: pass labels='folders'"),
    (dict(images=noise(resolution=8), generator=Generator(8, latent_dim=6, fmap_max=8, num_classes=3)), 'Generator has 3 classes, the images no labels'),
    (dict(images=labelled(), discriminator=Discriminator(8, fmap_max=8, num_classes=2)), 'Discriminator has 2 classes, the images labels up to 2')], ids=('none','generator','discriminator'))
def test_labels_that_are_not_there_are_missed_before_the_first_step(args, says):
    with pytest.raises(ValueError, match=says): progressive_learner(**{**quick, **args})

def test_the_noise_of_lsgan_grows_with_a_critic_that_is_too_sure():
    learn,told = tiny(schedule=brief, loss=LSGAN(fake_weight=3.)),[]
    learn.gan_loss.load_state_dict({'d_hat':.9})
    learn.model.discriminator.register_forward_pre_hook(lambda m, a, kw: told.append(kw['noise']), with_kwargs=True)
    fit(learn, 1)
    assert told[0]==pytest.approx(.2*.4**2) and 0<learn.gan_loss.noise_strength<told[0] # a fresh critic is not sure of anything
    sure = LSGAN()
    for _ in range(20): sure.discriminator_loss(lambda x: x.flatten(1).mean(1), torch.zeros(4,3,4,4), torch.ones(4,3,4,4))
    assert sure.d_hat==pytest.approx(1-.9**20) and sure.noise_strength==pytest.approx(.2*(.5-.9**20)**2)
