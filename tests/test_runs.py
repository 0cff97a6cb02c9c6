"Runs from their folders: presets go on, wrong folders are refused, good results survive damaged checkpoints."
from pathlib import Path
import pytest, torch
from progrow.checkpoint import checkpoints
from progrow.guards import FitsInMemory
from progrow.runs import open_generator, open_run
from progrow.train import fit_progressive, pick_device, progressive_learner, resume_run
from runs import noise, long

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

@pytest.mark.filterwarnings('ignore:passing over')
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
