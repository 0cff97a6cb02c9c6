"Runs from their folders: presets go on, wrong folders are refused, good results survive damaged checkpoints."
import json, os, warnings
import pytest, torch
from helpers import picture
from fastai.callback.core import Callback
from progrow.checkpoint import checkpoints
from progrow.guards import FitsInMemory
from progrow.networks import Discriminator, Generator
from progrow.runs import describe, open_generator, open_run, pictures_of
from progrow.checkpoint import load_generator
from progrow.schedule import GrowthSchedule
from progrow.resume import rebuild, resume_run
from progrow.train import fit_progressive, pick_device, progressive_learner
from runs import long, noise, shorter, tiny, weights

@pytest.fixture
def run(tmp_path):
    fit_progressive(noise(resolution=8), path=tmp_path/'run', show='nothing', **long)
    return tmp_path/'run'

@pytest.mark.parametrize('average', (dict(average_decay=.99), dict(average_kimg=.05)))
def test_a_run_with_either_average_goes_on_from_its_folder(tmp_path, average):
    "The presets paper and official have a decay, all others a half-life"
    images = noise(resolution=8)
    kw = {**{k:v for k,v in long.items() if k!='average_kimg'}, **average}
    learn = fit_progressive(images, path=tmp_path/'run', show='nothing', **kw)
    for p in checkpoints(tmp_path/'run'/'checkpoints')[:1]: p.unlink() # the end is lost
    (tmp_path/'run'/'generator.pt').unlink()
    again = fit_progressive(images, path=tmp_path/'again', show='nothing', **kw)
    learn = resume_run(tmp_path/'again', images, 'cpu', show='nothing')
    assert learn.settings==again.settings
    assert all(torch.equal(a, b) for a,b in zip(learn.model.parameters(), again.model.parameters()))

def test_resume_wants_the_folder_of_the_run(run):
    with pytest.raises(ValueError, match='give the folder of the run'): resume_run(run/'checkpoints', noise(resolution=8), 'cpu')
    assert not (run/'checkpoints'/'settings.json').exists()

def test_a_home_folder_is_understood_everywhere(run, monkeypatch):
    monkeypatch.setenv('HOME', str(run.parent))
    assert open_run('~/run').finished
    assert resume_run('~/run', noise(resolution=8), 'cpu', show='nothing').images_seen==open_run(run).images_seen

def told(call, error=None):
    "What a call warns of"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        if error:
            with pytest.raises(error): call()
        else: call()
    return [str(o.message) for o in said]

def test_a_damaged_checkpoint_is_told_once_whoever_reads_the_folder(run):
    (run/'checkpoints'/'checkpoint-000000300.pt').write_bytes(b'PK\3\4 cut')
    images = noise(resolution=8)
    for call in (lambda: resume_run(run, images, 'cpu', show='nothing'), lambda: fit_progressive(images, path=run, show='nothing', **long),
            lambda: progressive_learner(images, schedule=shorter, start_from=run, device='cpu'), lambda: open_generator(run), lambda: describe(run)):
        said, = told(call)
        assert said.startswith('passing over a checkpoint: checkpoint-000000300.pt') and 'checkpoint-000000256.pt is taken instead' in said
    (run/'generator.pt').unlink()
    assert len(told(lambda: open_generator(run)))==1
    assert not told(lambda: pictures_of(run), ValueError) # whoever draws with the run has told it

def test_a_run_that_begins_from_a_damaged_one_says_what_it_takes_and_what_is_lost(run):
    for p in checkpoints(run/'checkpoints'): p.write_bytes(p.read_bytes()[:-100])
    def begin(**kw): return progressive_learner(noise(resolution=8), schedule=shorter, start_from=run, device='cpu', **kw)
    damaged,lost = told(begin)
    assert 'none of the 1 checkpoints' in damaged and 'checkpoint-000000256.pt is not a file' in damaged
    assert 'generator.pt is taken instead, a generator alone: its critic is lost' in damaged and 'a new critic begins from random weights' in lost
    told(lambda: begin(freeze_discriminator=1), ValueError)
    (run/'generator.pt').unlink()
    with pytest.raises(ValueError, match='none of the 1 checkpoints'): begin()

def test_memory_is_counted_once_and_networks_are_looked_at_once(tmp_path, monkeypatch):
    from progrow import guards, train
    asked,look = [],train.network_problem
    monkeypatch.setattr(guards, 'available_memory', lambda device: asked.append('memory') or 10**12)
    monkeypatch.setattr(train, 'network_problem', lambda net: asked.append(type(net).__name__) or look(net))
    sizes = dict(fmap_base=32, fmap_max=8)
    own = dict(generator=Generator(8, latent_dim=6, **sizes), discriminator=Discriminator(8, **sizes))
    learn = fit_progressive(noise(resolution=8), path=tmp_path/'own', show='nothing', **{**long, **own})
    assert sorted(asked)==['Discriminator','Generator','memory'] and any(isinstance(c, FitsInMemory) for c in learn.cbs)
    asked.clear()
    progressive_learner(noise(resolution=8), **long)
    assert sorted(asked)==['Discriminator','Generator']

@pytest.mark.filterwarnings('ignore:none of the')
def test_a_good_result_survives_damaged_checkpoints(run):
    for p in checkpoints(run/'checkpoints'): p.write_bytes(b'PK\3\4 cut')
    assert open_generator(run).resolution==8
    (run/'generator.pt').unlink()
    with pytest.raises(ValueError, match='can be read'): open_generator(run)

def test_a_finished_run_without_checkpoints_says_so(run):
    for p in checkpoints(run/'checkpoints'): p.unlink()
    with pytest.raises(FileNotFoundError, match='this run is finished'): open_run(run)

def test_what_does_not_fit_is_said_in_a_sentence_of_its_own(monkeypatch):
    import progrow.guards as guards
    monkeypatch.setattr(guards, 'available_memory', lambda device: 1000)
    learn = progressive_learner(noise(resolution=8), **long)
    with pytest.raises(ValueError, match='^stage 4x4 with batch'): learn.fit(show='nothing')
    learn.remove_cb(FitsInMemory); learn.fit(1, show='nothing') # tried all the same

def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match='is not there'): pick_device('mps' if not torch.backends.mps.is_available() else 'xla')
    with pytest.raises(ValueError, match='average_decay must be'): progressive_learner(noise(resolution=8), **{**long, 'average_kimg':None, 'average_decay':1.})

results = {'generator.pt','strip.png','samples.png','losses.png'}
def names(folder): return {o.name for o in folder.iterdir()}

@pytest.mark.parametrize('broken', ['export', 'history'])
def test_results_do_not_depend_on_each_other(tmp_path, monkeypatch, broken):
    from progrow.callbacks import History
    from progrow.learner import ProgressiveLearner
    def fail(self, *args): raise KeyError('own network')
    monkeypatch.setattr(*((ProgressiveLearner, 'export') if broken=='export' else (History, 'plot')), fail)
    lost = 'generator.pt' if broken=='export' else 'losses.png'
    with pytest.raises(OSError, match=f'could not be written .*{lost} .*own network'):
        fit_progressive(noise(resolution=8), path=tmp_path/'run', show='nothing', **long)
    assert names(tmp_path/'run') & results==results-{lost}

def test_the_generator_is_there_although_the_last_checkpoint_is_not(tmp_path, monkeypatch):
    from progrow.learner import ProgressiveLearner
    saves = ProgressiveLearner.save_checkpoint
    def full(self, *args):
        if not self.ticks_left(): raise OSError(28, 'No space left on device')
        return saves(self, *args)
    monkeypatch.setattr(ProgressiveLearner, 'save_checkpoint', full)
    with pytest.raises(OSError, match='No space left'): fit_progressive(noise(resolution=8), path=tmp_path/'run', minutes=0, show='nothing', **long)
    assert results <= names(tmp_path/'run') and len(checkpoints(tmp_path/'run'/'checkpoints'))==3
    monkeypatch.setattr(ProgressiveLearner, 'save_checkpoint', saves)
    assert not fit_progressive(noise(resolution=8), path=tmp_path/'run', show='nothing', **long).ticks_left() # and the same call goes on

def test_a_tracker_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match='there is no tracker'): fit_progressive(noise(resolution=8), path=tmp_path/'run', show='nothing', tracker='paper', **long)
    assert not (tmp_path/'run'/'settings.json').exists()

def test_a_look_into_a_run_shows_no_lock(tmp_path):
    seen = []
    class Look(Callback):
        def after_epoch(self): seen.append((describe(tmp_path/'run')['files_and_bytes'], os.listdir(tmp_path/'run')))
    fit_progressive(noise(resolution=8), path=tmp_path/'run', show='nothing', minutes=0, cbs=Look(), **long)
    assert any('.lock' in o for _,o in seen) and not any('.lock' in o for o,_ in seen)

def test_runs_without_a_path_are_kept_apart_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    class Again(Callback):
        done = False
        def after_batch(self):
            if not Again.done:
                Again.done = True
                with pytest.raises(ValueError, match='another process is training in runs'): progressive_learner(noise(resolution=8), **long).fit_in(show='nothing')
    fit_progressive(noise(resolution=8), show='nothing', cbs=Again(), **long)
    assert Again.done and not (tmp_path/'runs').exists()

def test_settings_keep_the_names_of_classes(tmp_path):
    images = noise(resolution=8)
    images.label_names = ['coat','bag']
    fit_progressive(images, path=tmp_path/'run', show='nothing', **long)
    assert json.loads((tmp_path/'run'/'settings.json').read_text())['classes']==['coat','bag']

def test_a_dry_run_says_what_its_memory_is(capsys):
    fit_progressive(noise(resolution=8), dry_run=True, **long)
    assert 'Python and PyTorch come on top' in capsys.readouterr().out

def test_a_new_run_of_days_is_refused_where_nobody_says_yes(tmp_path, monkeypatch, capsys):
    from progrow import callbacks
    monkeypatch.setattr(callbacks, 'seconds_per_image', lambda *_: {4:1e5, 8:1e5})
    kw = dict(path=tmp_path/'run', show='nothing', **long)
    with pytest.raises(ValueError, match='this run would take about .* days'): fit_progressive(noise(resolution=8), yes=False, **kw)
    fit_progressive(noise(resolution=8), **kw)
    fit_progressive(noise(resolution=8), yes=False, **kw) # it has begun already
    assert 'images to go' not in capsys.readouterr().err

# --- a run that goes further

def small_run(tmp_path, **kwargs):
    files = tmp_path/'pictures'
    files.mkdir()
    for i,x in enumerate(noise(40).level(16)): picture(x).save(files/f'{i}.png')
    schedule = GrowthSchedule(8, stabilize_kimg=.096, fade_kimg=.064, batch_size=4, learning_rate=.001)
    sizes = dict(latent_dim=6, fmap_base=32, fmap_max=8, average_kimg=.05, seed=3, device='cpu', show='nothing')
    return files,fit_progressive(files, schedule=schedule, path=tmp_path/'run', **sizes, **kwargs)

def test_a_finished_run_grows_further(tmp_path):
    _,learn = small_run(tmp_path, loss='non-saturating')
    before = weights(learn)
    more = resume_run(tmp_path/'run', resolution=16, show='nothing')
    assert more.schedule.resolution==16 and more.images_seen==more.schedule.total_images>256 and more.gan_loss.full_resolution==16
    assert more.history.rows[0][0]<=256 and any(not torch.equal(v, before[k]) for k,v in weights(more).items() if k in before)
    assert load_generator(tmp_path/'run').resolution==16

def test_growing_takes_over_what_was_learned(tmp_path):
    files,learn = small_run(tmp_path)
    again = rebuild(open_run(tmp_path/'run'), resolution=16).resume(tmp_path/'run'/'checkpoints', ('resolution',))
    then,now = weights(learn),weights(again)
    assert all(torch.equal(v, now[k]) for k,v in then.items()) and len(now)>len(then)
    of = lambda l: {n:l.opt.opt.state[p]['exp_avg_sq'] for n,p in l.model.named_parameters() if p in l.opt.opt.state}
    a,b = of(learn),of(again)
    assert a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert again.images_seen==256 and again.state.resolution==16 and again.state.phase=='fade'

def test_a_run_goes_on_longer_and_with_more_pictures_if_asked(tmp_path):
    files,_ = small_run(tmp_path)
    assert resume_run(tmp_path/'run', total_kimg=.3, show='nothing').images_seen==300
    picture(noise(1).level(16)[0]).save(files/'new.png')
    with pytest.raises(ValueError, match='images.count'): resume_run(tmp_path/'run', total_kimg=.4, show='nothing')
    more = resume_run(tmp_path/'run', total_kimg=.4, more_images=True, show='nothing')
    assert more.images_seen==400 and len(more.images)==41
    with pytest.raises(ValueError, match='less than'): resume_run(tmp_path/'run', total_kimg=.2)

def test_a_folder_deleted_under_a_run_lets_nobody_else_in(tmp_path):
    import shutil
    from progrow.files import folder_lock
    folder = tmp_path/'run'
    class Away(Callback):
        "The folder is deleted, and another process takes a new one of its name, or does not"
        order = 80
        def __init__(self, taken): self.taken = taken
        def after_batch(self):
            if self.images_seen!=32: return
            shutil.rmtree(folder)
            if self.taken: self.other = folder_lock(folder); self.other.__enter__()
    learn = tiny(schedule=shorter, cbs=[Away(False)])
    learn.fit_in(folder, minutes=0, show='nothing')
    assert checkpoints(folder/'checkpoints') and learn.images_seen==256
    shutil.rmtree(folder)
    robbed = tiny(schedule=shorter, cbs=[away := Away(True)])
    with pytest.raises(ValueError, match='another process is training in'): robbed.fit_in(folder, minutes=0, show='nothing')
    away.other.__exit__(None, None, None)
    assert robbed.images_seen==32 and not checkpoints(folder/'checkpoints')
