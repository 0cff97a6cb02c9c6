"Watching a run: few sheets, snapshots that stay, the best generator, a film, a table and a comparison; none of it ever stops a run."
import json, re, subprocess, sys
from pathlib import Path
import pytest, torch
from PIL import Image
from progrow.best import Judge, read_metrics
from progrow.checkpoint import load_generator
from progrow.cli import main
from progrow.compare import compare_runs, list_runs, timelapse
from progrow.resume import resume_run
from progrow.runs import describe, open_generator
from progrow.train import fit_progressive, progressive_learner
from progrow.watching import Preview, Sheets, Watcher, images_of, kept_every, sheets, snapshots, watchers
from runs import StopAt, long, noise, weights

images = noise(resolution=8)
watched = dict(keep_every=.064, metrics=['swd-quick'])
def run(path, **kwargs): return fit_progressive(images, path=path, show='nothing', **{**long, **kwargs})

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A run that is watched in every way"
    folder = tmp_path_factory.mktemp('watched')/'run'
    run(folder, **watched)
    return folder

def kept(folder):
    "What watching has left in a folder, as bytes; of generators the weights"
    read = lambda p: {k:v.tolist() for k,v in load_generator(p).state_dict().items()} if p.suffix=='.pt' else p.read_bytes()
    files = [*(folder/'sheets').iterdir(), *(folder/'snapshots').iterdir(), folder/'best.pt', folder/'metrics.jsonl', folder/'watch.json']
    return {p.relative_to(folder).as_posix(): read(p) for p in files}

def test_a_watched_run_keeps_sheets_snapshots_and_the_best(whole):
    assert (whole/'sheets'/'reals.png').is_file() and [images_of(p) for p in sheets(whole)]==list(range(8, 257, 8))
    with Image.open(sheets(whole)[0]) as a, Image.open(whole/'sheets'/'reals.png') as b: assert a.size==b.size==(64,64) # 4x4 enlarged to 8x8
    assert [images_of(p) for p in snapshots(whole)]==[64, 128, 192, 256]
    assert [load_generator(p).resolution for p in snapshots(whole)]==[4, 4, 8, 8]
    rows = read_metrics(whole)
    assert rows and rows[-1]['kimg']==.256 and open_generator(whole/'best.pt').resolution==8
    assert describe(whole)['finished'] and not any(o.startswith('sheets') for o in describe(whole)['files_and_bytes'])

def test_watching_changes_nothing_in_the_run(whole, tmp_path):
    bare = progressive_learner(images, **long); bare.fit(show='nothing')
    again = progressive_learner(images, **long).resume(whole/'checkpoints')
    assert all(torch.equal(v, weights(again)[k]) for k,v in weights(bare).items())

@pytest.mark.parametrize('stop', [13, 50]) # steps; two in a tick, so one is within a tick
def test_a_run_that_was_killed_ends_with_the_same_files(whole, tmp_path, stop):
    with pytest.raises(RuntimeError): run(tmp_path/'run', minutes=0, cbs=StopAt('after_batch', stop, RuntimeError('killed'), order=99), **watched)
    (tmp_path/'run'/'sheets'/'fakes-00000.250.png').write_bytes(b'of a way not taken')
    resume_run(tmp_path/'run', images, 'cpu', show='nothing') # what to watch is remembered
    assert kept(tmp_path/'run')==kept(whole)

def test_a_stale_judgement_and_its_best_are_taken_back(tmp_path):
    learn = progressive_learner(images, **long)
    rows = [dict(kimg=k, resolution=8, n=8, values={'swd-quick':{'SWD mean':v}}, floors={}) for k,v in ((.1, 9.), (.3, 1.))]
    (tmp_path/'metrics.jsonl').write_text(''.join(json.dumps(r)+'\n' for r in rows)+'torn')
    (tmp_path/'best.pt').write_bytes(b'of a time to come')
    judge = Judge(tmp_path, ['swd-quick']); judge.learn = learn
    learn.model.images_seen = 200; judge.before_fit()
    assert judge.rows==rows[:1]==read_metrics(tmp_path) and not (tmp_path/'best.pt').exists()

@pytest.mark.parametrize('n', [1, 64, 65, 1000, 4097])
def test_there_are_never_more_than_64_sheets(n): assert 32<n/kept_every(n)<=64 or kept_every(n)==1 and n<=64

def test_thinning_does_not_depend_on_where_a_run_was_interrupted(tmp_path):
    for folder,ticks in (('a', [32]), ('b', [5, 13, 32])):
        learn = progressive_learner(images, **long)
        for end in ticks: learn.fit(end-learn.images_seen//8, cbs=Sheets(tmp_path/folder, most=8), show='nothing')
    assert [images_of(p) for p in sheets(tmp_path/'a')]==[32*i for i in range(1, 9)]
    assert {p.name:p.read_bytes() for p in sheets(tmp_path/'a')}=={p.name:p.read_bytes() for p in sheets(tmp_path/'b')}

def test_a_run_that_goes_further_keeps_few_sheets(tmp_path):
    run(tmp_path/'run')
    resume_run(tmp_path/'run', images, 'cpu', show='nothing', total_kimg=.8)
    assert 32<=len(sheets(tmp_path/'run'))<=65 and images_of(sheets(tmp_path/'run')[-1])==800

def test_a_full_disk_stops_no_run_and_is_said_once(tmp_path, monkeypatch):
    import progrow.watching as module
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(module, 'save_images', full)
    with pytest.warns(UserWarning) as told: learn = run(tmp_path/'run')
    assert not learn.ticks_left() and (tmp_path/'run'/'generator.pt').exists()
    assert [str(o.message) for o in told if 'Sheets' in str(o.message)]==['Sheets: [Errno 28] No space left on device. Training goes on, and this is not said again']

def test_the_best_is_kept_although_no_line_could_be_written(tmp_path, monkeypatch):
    import progrow.metrics as module
    def full(*args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(module, 'append_line', full)
    with pytest.warns(UserWarning, match='Judge: .*No space left'): run(tmp_path/'run', metrics='swd-quick')
    assert (tmp_path/'run'/'best.pt').exists() and not read_metrics(tmp_path/'run')

def test_metrics_that_cannot_judge_these_pictures_are_refused_before_the_run(tmp_path):
    four = noise(channels=4, resolution=8)
    with pytest.raises(ValueError, match="'ms-ssim' takes pictures of 1 or 3 channels, these have 4"): fit_progressive(four, path=tmp_path/'run', show='nothing', metrics='ms-ssim', **long)
    assert not (tmp_path/'run').exists()
    fit_progressive(four, path=tmp_path/'run', show='nothing', metrics='swd-quick', **long)
    assert read_metrics(tmp_path/'run') and (tmp_path/'run'/'best.pt').exists()

def test_of_several_processes_only_the_first_one_watches(tmp_path):
    class Seen(Watcher):
        looks = 0
        def look(self): self.looks += 1
    seen = Seen(); learn = progressive_learner(images, cbs=seen, **long)
    learn.fit(2, show='nothing'); assert seen.looks==2
    learn.players.processes = type('Second', (), dict(first=False))()
    seen.after_epoch(); assert seen.looks==2

def test_one_who_only_looks_is_no_callback_that_a_run_misses(tmp_path, recwarn):
    run(tmp_path/'run', cbs=[Preview(), StopAt('before_fit', 9, ValueError)])
    assert progressive_learner(images, cbs=Preview(), **long).extra_callbacks==[]
    recwarn.clear(); progressive_learner(images, cbs=StopAt('before_fit', 9, ValueError), **long).resume(tmp_path/'run'/'checkpoints')
    assert not recwarn.list

def test_the_preview_is_one_cell_that_is_drawn_anew(monkeypatch):
    import IPython.display, progrow.watching as module
    shown = []
    class Screen:
        def update(self, o): shown.append(o.data)
    monkeypatch.setattr(module, 'IN_NOTEBOOK', True)
    monkeypatch.setattr(IPython.display, 'display', lambda o, display_id: shown.append(o.data) or Screen())
    preview = Preview(); learn = progressive_learner(images, cbs=preview, **long)
    learn.fit(14, show='nothing')
    assert len(shown)==14 and all(o.count('<img')==2 for o in shown) and not preview.said
    monkeypatch.setattr(module, 'IN_NOTEBOOK', False); learn.fit(1, show='nothing')
    assert len(shown)==14

@pytest.mark.parametrize('args,says', [(dict(keep_every=-1), 'keep_every must be'), (dict(keep_every=float('nan')), 'keep_every must be'), (dict(metrics='beauty'), "no metric 'beauty'"),
    (dict(metrics='swd,fd'), "'fd' needs a network"), (dict(metrics='fd', network='mine'), "no network 'mine'"), (dict(keep_every=5, path=None), 'give path=')], ids=str)
def test_wrong_wishes_are_refused_before_any_work(tmp_path, args, says):
    args = {'path':tmp_path/'run', **args}
    with pytest.raises(ValueError, match=says): fit_progressive('nowhere', **args)
    assert not (tmp_path/'run').exists()

@pytest.mark.parametrize('text', ['{', '[]', '{"metrics": ["beauty"]}', '{"metrics": "swd"}', '{"keep_every": "5"}', '{"keep_every": -1}', '{"network": "/tmp/evil.pt", "metrics": ["fd"]}', '['*9999], ids=lambda t: t[:40])
def test_a_changed_list_of_wishes_is_left_out(tmp_path, text):
    (tmp_path/'watch.json').write_text(text)
    with pytest.warns(UserWarning, match='does not say how to watch'): assert [type(o) for o in watchers(tmp_path)]==[Sheets]

def test_wishes_may_change_when_a_run_goes_on(tmp_path):
    names = lambda **kw: [type(o).__name__ for o in watchers(tmp_path, **kw)]
    assert names(keep_every=5)==['Sheets','Snapshots'] and names()==names(network='lite0')==['Sheets','Snapshots']
    assert names(metrics='fd')==['Sheets','Snapshots','Judge'] and names(keep_every=0, metrics=())==names()==['Sheets']

# --- looking back

@pytest.fixture(scope='module')
def shelf(whole, tmp_path_factory):
    "Two runs, one of them on its way"
    folder = tmp_path_factory.mktemp('shelf')
    (folder/'first').symlink_to(whole)
    with pytest.raises(RuntimeError): run(folder/'second', seed=4, cbs=StopAt('after_epoch', 9, RuntimeError('killed'), order=99))
    return folder

def test_a_table_of_runs_has_what_differs(shelf):
    t = list_runs(shelf)
    assert t.index.tolist()==['first','second'] and t.finished.tolist()==[True, False] and t.kimg.tolist()==[.256, .072] and t.of.tolist()==[.256]*2
    assert t.seed.tolist()==[3, 4] and 'mirror' not in t and 'SWD mean' in t.best['first'] and t.best['second']==''
    assert list_runs(shelf/'second').index.tolist()==['second']

def test_a_film_of_a_run(whole, tmp_path):
    for name in ('a.gif', 'a.webp'):
        with Image.open(timelapse(whole, tmp_path/name, fps=4)) as film: assert film.size==(256,272) and film.n_frames>=30
    with pytest.raises(FileNotFoundError, match='no sheets of samples'): timelapse(tmp_path)

def test_a_damaged_sheet_is_named(tmp_path):
    (tmp_path/'sheets').mkdir(); (tmp_path/'sheets'/'fakes-00000.008.png').write_bytes(b'\x89PNG')
    with pytest.raises(ValueError, match=r'fakes-00000.008.png cannot be read'): timelapse(tmp_path, tmp_path/'a.gif')

def test_a_comparison_is_one_file_that_opens_offline(shelf, tmp_path):
    page = compare_runs([shelf/'first', shelf/'second'], tmp_path/'c.html').read_text()
    assert '<h1>first and second</h1>' in page and 'seed' in page and 'mirror' not in page
    assert page.count('<img')==2 and not re.search(r'(src|href)="(?!data:)', page) and '<link' not in page and 'oninput' in page

def test_names_of_folders_are_no_html(whole, tmp_path):
    (tmp_path/'<b>x').symlink_to(whole)
    assert '<b>x' not in compare_runs([whole, tmp_path/'<b>x'], tmp_path/'c.html').read_text()

def test_runs_without_sheets_log_or_judge_are_compared_all_the_same(shelf, tmp_path):
    for o in ('a', 'b'): (tmp_path/o).mkdir(); (tmp_path/o/'settings.json').write_bytes((shelf/'first'/'settings.json').read_bytes())
    assert 'No sheets' in compare_runs([tmp_path/'a', tmp_path/'b'], tmp_path/'c.html').read_text()

def test_the_commands(shelf, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['runs', str(shelf)])==0 and re.search(r'second +0.072 +0.256 +False', capsys.readouterr().out)
    assert main(['runs', str(shelf), '--json'])==0 and json.loads(capsys.readouterr().out)['first']['seed']==3
    assert main(['timelapse', str(shelf/'second')])==0 and Path('timelapse.gif').exists()
    assert main(['compare', str(shelf/'first'), str(shelf/'second')])==0 and Path('compare.html').exists()
    capsys.readouterr(); assert main(['runs', str(tmp_path/'none')])==1 and 'there is no run in' in capsys.readouterr().err

def test_looking_commands_are_light():
    r = subprocess.run([sys.executable, '-c', "import sys, progrow.cli as c; c.main(['runs','--help']); print(*sys.modules)"], capture_output=True, text=True)
    assert not {'torch','numpy','pandas','PIL'} & set(r.stdout.splitlines()[-1].split())
