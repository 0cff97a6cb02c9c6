"The command `progrow`: its flags are those of the Python functions, its exit codes fit for scripts, its messages one line."
import inspect, json, os, re, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from progrow import cli
from progrow.cli import commands, main, parser
from progrow.presets import options

few = 'minutes:stabilize_kimg=0.1,fade_kimg=0.1,batch_size=16'

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "A folder with two small runs, `plain` and `classes`"
    folder = tmp_path_factory.mktemp('cli')
    old = Path.cwd(); os.chdir(folder)
    try:
        sizes = f'--resolution 8 --device cpu --quiet --fmap-base 32 --latent-dim 8 --schedule {few}'.split()
        assert main(['train', 'digits', '--path', 'plain', *sizes])==0
        assert main(['train', 'digits', '--path', 'classes', '--conditional', *sizes])==0
    finally: os.chdir(old)
    return folder

@pytest.fixture(autouse=True)
def here(runs, monkeypatch):
    monkeypatch.chdir(runs)
    monkeypatch.setenv('PROGROW_CACHE', str(runs/'cache'))
    monkeypatch.delenv('PROGROW_DEBUG', raising=False)

def script(*words, **kw):
    return subprocess.run([sys.executable, '-m', 'progrow.cli', *words], capture_output=True, text=True, **kw)

def refused(capsys, words, match, code=1):
    "It says one line, and nothing else"
    capsys.readouterr()
    assert main(words.split())==code
    out,err = capsys.readouterr()
    assert err.count('\n')==1 and not out, (out, err)
    assert re.search(match, err), err

def test_help_is_light():
    code = "import sys; from progrow.cli import main; main([]); main(['--version']); main(['train', '--help']); print(*sys.modules)"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert not {'torch', 'fastai', 'matplotlib', 'numpy', 'PIL'} & set(r.stdout.splitlines()[-1].split())

def test_overview_and_version(capsys):
    from progrow import __version__
    for words in ([], ['--help'], ['-h'], ['help']):
        assert main(words)==0
        out = capsys.readouterr().out
        for k,f in commands.items(): assert re.search(rf'^  {k} +{re.escape(inspect.getdoc(f).splitlines()[0])}$', out, re.M)
    assert main(['--version'])==0 and capsys.readouterr().out==f'progrow {__version__}\n'
    assert set(commands)=={'data','train','resume','sample','grid','mix','interpolate','evaluate','info','runs','timelapse','compare',
                           'project','export-onnx','convert'}

@pytest.mark.parametrize('name', commands)
def test_every_help_page(name, capsys):
    assert main([name, '--help'])==0
    out = capsys.readouterr().out
    assert re.search(r'^examples?:\n  progrow ', out, re.M)
    for a in parser(commands[name])._actions: assert a.help

def defaults(*fs): return {k:v.default for f in fs for k,v in inspect.signature(f).parameters.items()}

def test_flags_are_those_of_python():
    "Same names and defaults, and none forgotten"
    from progrow.data import avatars, image_pyramid
    from progrow.explore import draw, interpolate, save_animation
    from progrow.train import fit_progressive, progressive_learner, resume_run
    ours = lambda name: defaults(commands[name])
    for name,fs,extra,left in (
            ('train', [image_pyramid, progressive_learner, fit_progressive], {'path','quiet','n','config','column','gpus','schedule','loss','cache','yes'}, {'source','generator','discriminator','cbs','kwargs','progress','show','switches'}),
            ('resume', [resume_run], {'quiet','resolution','total_kimg','more_images'}, {'show'}),
            ('data', [avatars, image_pyramid], {'images','preview','json','n','seed','cache'}, {'source','progress','kwargs'}),
            ('interpolate', [save_animation, interpolate], {'file','out','device','frames','seeds'}, {'generator','path'})):
        cli,python = ours(name),defaults(*fs)
        assert not set(cli)-set(python)-extra, name
        assert not set(python)-set(cli)-left, name
        for k in set(cli)&set(python)-extra-{'cache'}: assert cli[k]==python[k], (name, k)

def test_on_off_and_dashes():
    p = parser(commands['train'])
    assert p.parse_args([]).resume is True and p.parse_args(['--no-resume']).resume is False
    assert p.parse_args(['--no-resume', '--resume']).resume is True
    a = p.parse_args(['x.zip', '--latent-dim', '8', '--dry-run', '--average-kimg', '2'])
    assert (a.images, a.latent_dim, a.dry_run, a.average_kimg, a.resolution)==('x.zip', 8, True, 2., None)

@pytest.mark.parametrize('words', [['nonsense'], ['train', '--speed', '2'], ['train', '--seed', 'x'], ['train', '--latent', '8'], ['grid'], ['info', 'a', 'b'], ['--nonsense']])
def test_usage_errors(words, capsys):
    assert main(words)==2
    out,err = capsys.readouterr()
    assert not out and err

@pytest.mark.parametrize('words,match', [('smaple x', "did you mean 'sample'"), ('train --resolutoin 64', 'no flag --resolutoin, did you mean --resolution[?]'), ('train --resolutoin=64', 'did you mean --resolution[?]'),
    ('train digits --schedule minutes:stabilize_kimg=4:4 minutes:stabilize_kimg=8:4', 'wants quotes'), ('info a b', 'too many words: b')])
def test_suggests(words, match, capsys): refused(capsys, words, match, 2)

@pytest.mark.parametrize('words', ['train --seed -1', f'train --seed {2**70}', f'sample x --seed {2**70}', f'evaluate x --seed -1', 'data avatars --seed -1', f'train --resolution {2**70}', 'train --resolution 2.5',
    'train --average-kimg nan', 'train --minutes inf', 'sample x --psi nan', 'interpolate x --fps inf', 'grid x --rows many'])
def test_numbers_that_are_none(words, capsys): refused(capsys, words, r'argument --[\w-]+: expected a (whole )?number', 2)

def test_python_words_are_told_as_flags(capsys, tmp_path):
    few_words = f'digits --resolution 8 --device cpu --schedule {few} --path {tmp_path}/r'
    (tmp_path/'r').mkdir(); (tmp_path/'r'/'generator.pt').write_bytes(b'')
    (tmp_path/'photos').mkdir(); (tmp_path/'photos'/'x.png').write_text('no picture')
    said = {}
    for words in (f'train digits --path plain --no-resume', f'train {few_words}', f'data {tmp_path}/photos', 'data digits --n 5', 'data digits --labels folders', 'train --loss hinge', 'train --precision fp8',
                  f'train {few_words}2 --average-kimg 1 --average-decay .9', f'train {few_words}3 --resolution 64 --image-channels 2', 'sample plain --psi .5', 'mix plain', 'sample plain --device tpu', 'train --schedule minutes:a',
                  f'train {tmp_path} --conditional --path {tmp_path}/q'):
        capsys.readouterr()
        assert main(words.split())==1, words
        said[words] = capsys.readouterr().err
    assert not {k:v for k,v in said.items() if re.search(r'=True|=False|=None|learn\.|\w\(|\b(on_error|labels|resume|path|precision)=', v)}
    assert '--on-error skip' in said[f'data {tmp_path}/photos']

def test_options():
    assert options('wgan-gp')==('wgan-gp', {})
    assert options('official:gpus=8, batch_size={4: 64, 8: 32}, total_kimg=1e3')==('official', dict(gpus=8, batch_size={4:64, 8:32}, total_kimg=1000.))
    for bad in ('a:b', 'a:b=c', 'a:=1', 'a:b=__import__("os")', 'a:1', 'a:**{}', 'a:b=1)+(2', 'a:)(', 'a:b=[x for x in ()]'):
        with pytest.raises(ValueError, match='cannot be read'): options(bad)

def test_data(tmp_path, capsys):
    for kind,color in (('cats','red'), ('dogs','blue')):
        (tmp_path/kind).mkdir()
        for i in range(3): Image.new('RGB', (20+i, 24), color).save(tmp_path/kind/f'{i}.png')
    assert main(['data', str(tmp_path), '--labels', 'folders', '--json', '--resolution', '8'])==0
    f = json.loads(capsys.readouterr().out)
    assert (f['pictures'], f['channels'], f['resolutions'], f['classes'])==(6, 3, [4,8], {'cats':3, 'dogs':3})
    assert main(['data', str(tmp_path), '--preview', str(tmp_path.parent/'preview'/'p.png')])==0
    assert 'resolutions     4, 8, 16' in capsys.readouterr().out
    assert Image.open(tmp_path.parent/'preview'/'p.png').size==(3*16, 2*16)
    (tmp_path/'dogs'/'x.png').write_bytes(b'no picture')
    refused(capsys, f'data {tmp_path}', r'cannot read dogs/x.png')
    assert main(['data', str(tmp_path), '--on-error', 'skip'])==0
    out,err = capsys.readouterr()
    assert 'skipped         dogs/x.png' in out and err.startswith('progrow data: warning: skipped 1 of 7') and err.count('\n')==1
    assert main(['data', 'avatars', '--n', '3', '--resolution', '16', '--seed', '5', '--json'])==0
    assert json.loads(capsys.readouterr().out)['pictures']==3

def test_data_refuses(capsys, tmp_path):
    refused(capsys, 'data nowhere', 'is no file or folder here')
    refused(capsys, f'data {tmp_path}', 'no pictures in')
    refused(capsys, 'data digits --n 5', 'unknown arguments n')
    refused(capsys, 'data digits --resolution 12', 'not a power of two')

def test_train_results(runs):
    made = {o.name for o in (runs/'plain').iterdir()}
    assert {'generator.pt','strip.png','samples.png','losses.png','log.jsonl','settings.json','checkpoints'} <= made
    s = json.loads((runs/'plain'/'settings.json').read_text())['settings']
    assert s['generator']['latent_dim']==8 and s['generator']['fmap_base']==32 and s['generator']['fmap_max']==48 and s['average_kimg']==2.
    assert s['schedule']['batch_size']==16 and s['schedule']['stabilize_kimg']==0.1

def test_train_says_what_it_does(capsys, tmp_path):
    words = f'train digits --path {tmp_path}/r --resolution 8 --device cpu --fmap-base 32 --schedule {few} --loss wgan-gp:target=750,penalty=5'.split()
    assert main(words)==0
    out,err = capsys.readouterr()
    assert re.search(r'^0\.3 of 0\.3 kimg, 8x8 stabilize, critic \S+, generator \S+, 100%, \d+ images/s, 0:\d\d so far, 0:00 left$', err, re.M)
    assert re.match(r'300 images to go, about \d+ s on this machine\n', err) and re.fullmatch(r'Trained on 304 pictures. In .*\n', out)
    loss = json.loads((tmp_path/'r'/'settings.json').read_text())['settings']['loss']
    assert (loss['name'], loss['target'], loss['penalty'])==('WGANGP', 750., 5.)
    assert main(words)==0  # nothing is left to do
    refused(capsys, ' '.join(words)+' --seed 3', 'seed: the checkpoint has 0, this run 3')
    refused(capsys, ' '.join(words)+' --no-resume', 'holds a run: go on with it \\(--resume\\)')

def test_dry_run(capsys, tmp_path):
    assert main(f'train digits --path {tmp_path}/r --resolution 8 --device cpu --fmap-base 32 --schedule {few} --dry-run'.split())==0
    out = capsys.readouterr().out
    assert 'total: ' in out and 'stabilize' in out
    assert not (tmp_path/'r').exists()

def test_train_refuses(capsys, tmp_path):
    for words,match in (('nowhere', 'no file or folder'), ('digits --resolution 8 --loss hinge', 'no loss'), ('--schedule slow', 'no preset is named'),
                        ('--schedule minutes:speed=2', "no option 'speed'"), ('--schedule official:gpus=3', 'gpus'), ('digits --column ffhq', 'give --config too'),
                        ('--schedule minutes:x', 'cannot be read'), ('--precision fp8', 'precision'), ('--device cuda:99', 'CUDA'), ('--gpus 8', "'minutes' has numbers for gpus in"), ('--config A --schedule official --gpus 3', 'gpus'),
                        ('digits --resolution 8 --tracker paper', 'tracker')):
        refused(capsys, f'train {words} --path {tmp_path}/r', match)
    assert not (tmp_path/'r'/'generator.pt').exists()

@pytest.mark.parametrize('words,want', [('', ('minutes', 'non-saturating:native,r1=.1,r1_every=4', 'Generator', 64)), ('--config A', ('official', 'wgan-gp:full', 'Generator', 512)), ('--config F', ('stylegan', 'non-saturating', 'StyleGenerator', 512)),
    ('--config F --schedule minutes --loss lsgan', ('minutes', 'lsgan', 'StyleGenerator', 64)), ('--config F --latent-dim 8', ('stylegan', 'non-saturating', 'StyleGenerator', 8)),
    ('--config D --schedule minutes:start_resolution=8', ('minutes', 'non-saturating', 'StyleGenerator', 64)), ('--schedule official', ('official', 'wgan-gp:full', 'Generator', 512))])
def test_config(words, want, monkeypatch, tmp_path):
    "A row of the table, and flags beside it that change it"
    from progrow import train
    from progrow.schedule import GrowthSchedule
    made = {}
    def note(images, path, resume, dry_run, minutes, show, yes, **kw): made['learn'] = train.progressive_learner(images, **{**kw, 'fmap_max':kw.get('fmap_max', 8), 'fmap_base':8})
    monkeypatch.setattr(train, 'fit_progressive', note)
    schedule,loss,network,latent_dim = want
    assert main(f'train digits --resolution 8 --device cpu --path {tmp_path} --dry-run {words}'.split())==0
    learn,opts = made['learn'],{'start_resolution':8} if 'start' in words else {}
    assert learn.schedule==GrowthSchedule.named(schedule, 8, **opts) and learn.gan_loss==train.pick_loss(loss, 8)
    assert type(learn.model.generator).__name__==network and learn.model.generator.latent_dim==latent_dim
    assert getattr(learn.model.generator, 'mixing', 0)==(.9 if 'F' in words else 0)

def test_train_resume_and_draw_with_styles(tmp_path, capsys):
    words = f'train digits --config F --path {tmp_path}/r --resolution 8 --device cpu --quiet --fmap-base 32 --latent-dim 8 --schedule {few}'
    assert main(words.split())==0 and main(['resume', f'{tmp_path}/r', '--device', 'cpu', '--quiet'])==0
    s = json.loads((tmp_path/'r'/'settings.json').read_text())['settings']
    assert (s['generator']['network'], s['discriminator']['network'], s['loss']['name'])==('StyleGenerator', 'StyleDiscriminator', 'NonSaturating')
    pictures = []
    for file in ('r', 'r/checkpoints', 'r/generator.pt'):
        assert main(f'sample {tmp_path}/{file} --psi 0.5 --device cpu --out {tmp_path}/s.png'.split())==0
        pictures.append((tmp_path/'s.png').read_bytes())
    assert len(set(pictures))==1
    refused(capsys, f'train digits --config G --path {tmp_path}/g', 'config must be one of A, B, C, D, E, F')

def settings_of(words, monkeypatch, path):
    "What `progrow train WORDS` would train, without training; networks of few channels where the words leave them open"
    from progrow import train
    from progrow.learner import ProgressiveLearner
    made = []
    monkeypatch.setattr(ProgressiveLearner, 'dry_run', lambda self: made.append(self))
    assert main(f'train digits --resolution 8 --device cpu --path {path} --dry-run {words}'.split())==0
    return made[0]

@pytest.mark.parametrize('words,name,gpus,changes', [('minutes', 'minutes', 1, {}), ('official', 'official', 1, {}), ('official --gpus 8', 'official', 8, {}), ('paper', 'paper', 1, {}), ('stylegan --gpus 2', 'stylegan', 2, {}),
    ('official:gpus=8,total_kimg=9000', 'official', 8, dict(total_kimg=9000)), ('paper:total_kimg=9000', 'paper', 1, dict(total_kimg=9000)), ('stylegan:total_kimg=9000 --gpus 4', 'stylegan', 4, dict(total_kimg=9000))])
def test_a_schedule_is_its_whole_preset(words, name, gpus, changes, monkeypatch, tmp_path):
    "Options change the schedule, and nothing else"
    from progrow.presets import preset
    from progrow.schedule import GrowthSchedule
    learn = settings_of(f'--schedule {words}', monkeypatch, tmp_path/'r')
    want,s = preset(name, 8, gpus),learn.settings
    assert learn.schedule==GrowthSchedule.named(name, 8, gpus, **changes) and learn.gan_loss==want['loss']
    found = {k:s[k] for k in ('mirror','reset_optimizer','average_decay')}
    found.update({k:s['generator'][k] for k in ('latent_dim','fmap_base','fmap_max')}, **{k:s['discriminator'][k] for k in ('group_size','pool_before_activation')})
    assert found=={'average_decay':None, **{k:v for k,v in want.items() if k not in ('schedule','loss','average_kimg')}}
    if 'average_kimg' in want: assert s['average_kimg']==want['average_kimg']
    assert not (tmp_path/'r').exists()

def test_flags_win_over_the_preset(monkeypatch, tmp_path):
    p = parser(commands['train'])
    assert [p.parse_args(o.split()).mirror for o in ('', '--mirror', '--no-mirror')]==[None, True, False]
    s = settings_of('--schedule official --no-mirror --no-reset-optimizer --average-kimg 3 --fmap-base 64', monkeypatch, tmp_path/'r').settings
    assert (s['mirror'], s['reset_optimizer'], s['average_kimg'], s['average_decay'])==(False, False, 3., None)
    assert (s['generator']['fmap_base'], s['generator']['fmap_max'])==(64, 512)

def test_columns_of_the_table(monkeypatch, tmp_path):
    small = '--fmap-base 8 --fmap-max 8'
    loss = lambda words: type(settings_of(f'{words} {small}', monkeypatch, tmp_path/'r').gan_loss).__name__
    assert [loss(o) for o in ('--config F', '--config F --column ffhq', '--config F --column celebahq')]==['NonSaturating', 'NonSaturating', 'WGANGP']
    assert loss('--config F --column celebahq --loss lsgan')=='LSGAN'
    four = settings_of(f'--config F --gpus 4 {small}', monkeypatch, tmp_path/'r').schedule.next_batch(0).batch_size
    assert four>settings_of(f'--config F {small}', monkeypatch, tmp_path/'r').schedule.next_batch(0).batch_size

def test_fastai_keeps_its_defaults():
    "No part of the package changes what other learners get"
    for file in (Path(__file__).parents[1]/'progrow').glob('*.py'):
        text = file.read_text(encoding='utf-8')
        assert 'import defaults' not in text and 'defaults.callbacks' not in text, file.name
    assert 'locals()' not in Path(cli.__file__).read_text(encoding='utf-8')

def test_lines_are_the_choice_of_the_caller(capsys, monkeypatch, tmp_path):
    words = f'train digits --resolution 8 --device cpu --fmap-base 32 --latent-dim 8 --schedule {few} --path {tmp_path}'
    capsys.readouterr()
    for name,flags,lines in (('a', '', True), ('b', '--quiet', False)):
        assert main(f'{words}/{name} {flags}'.split())==0
        out,err = capsys.readouterr()
        assert (' kimg, 8x8 stabilize, critic ' in err)==lines and 'Trained on 304 pictures' in out and 'generator_loss' not in out+err

def test_old_names():
    assert cli.options is options
    with pytest.raises(AttributeError): cli.nothing

def test_sample(capsys, runs, tmp_path):
    from progrow.checkpoint import load_generator
    from progrow.images import to_uint8
    from progrow.train import sample_images
    want = to_uint8(sample_images(load_generator('plain/generator.pt'), 6, seed=3)).numpy()[:,0]
    for file in ('plain', 'plain/generator.pt', 'plain/checkpoints', next(Path('plain/checkpoints').iterdir())):
        assert main(['sample', str(file), '--n', '6', '--seed', '3', '--device', 'cpu', '--out', f'{tmp_path}/s'])==0
        assert sorted(o.name for o in (tmp_path/'s').iterdir())==[*(f'000{i}.png' for i in range(6)), 'dataset.json']
        for i in range(6): assert (np.asarray(Image.open(tmp_path/'s'/f'000{i}.png'))==want[i]).all()
    assert main(['sample', 'plain', '--n', '6', '--seed', '3', '--device', 'cpu', '--out', f'{tmp_path}/g.png', '--resolution', '4'])==0
    assert Image.open(tmp_path/'g.png').size==(12,8)
    assert main(['sample', 'classes', '--labels', '7', '--n', '2', '--out', f'{tmp_path}/c.png'])==0
    for words,match in (('nowhere', 'no file nowhere'), ('plain --n 0', '1 or more'), ('plain --labels 1', 'no labels'), ('classes --labels 10', 'from 0 to 9'), ('classes --labels 3-1', 'list of classes'),
                        ('plain --psi 0.5', 'truncation'), ('plain --device tpu9', "'tpu9' is not there"), ('plain --resolution 16', 'not at 16'), ('cache', 'no file|no checkpoint in')):
        refused(capsys, f'sample {words} --out {tmp_path}/x.png', match)

def test_sample_of_an_unfinished_run(runs, tmp_path, capsys):
    from progrow.schedule import GrowthSchedule
    from progrow.train import progressive_learner
    learn = progressive_learner('digits', schedule=GrowthSchedule(8, stabilize_kimg=.1, fade_kimg=.1, batch_size=16), latent_dim=8, fmap_base=32, device='cpu')
    with learn.no_bar(), learn.no_logging(): learn.fit(9)
    learn.save_checkpoint(tmp_path/'r'/'checkpoints')
    s = learn.schedule(learn.images_seen)
    assert 100<learn.images_seen<200 and s.phase=='fade'  # so 4x4 is what is ready
    assert main(['sample', str(tmp_path/'r'), '--n', '4', '--out', f'{tmp_path}/s.png'])==0
    assert Image.open(tmp_path/'s.png').size==(8,8)
    assert main(['info', str(tmp_path/'r'), '--json'])==0
    f = json.loads(capsys.readouterr().out.split('\n', 1)[1])
    assert not f['finished'] and f['newest_checkpoint']['stage'].startswith('8x8 fade 0.')

def test_grid(capsys, tmp_path):
    assert main(['grid', 'plain', '--rows', '2', '--cols', '3', '--out', f'{tmp_path}/a.png'])==0
    assert Image.open(tmp_path/'a.png').size==(24,16)
    assert main(['sample', 'plain', '--n', '6', '--out', f'{tmp_path}/s'])==0
    assert (np.asarray(Image.open(tmp_path/'a.png'))[8:,16:]==np.asarray(Image.open(tmp_path/'s'/'0005.png'))).all()
    assert main(['grid', 'classes', '--cols', '3', '--out', f'{tmp_path}/b.png'])==0
    assert Image.open(tmp_path/'b.png').size==(24,80)
    assert main(['grid', 'classes', '--cols', '2', '--labels', '4,1', '--out', f'{tmp_path}/c.png'])==0
    whole,two = (np.asarray(Image.open(tmp_path/f'{o}.png')) for o in 'bc')
    assert (two[:8]==whole[32:40,:16]).all() and (two[8:]==whole[8:16,:16]).all()
    refused(capsys, f'grid plain --rows 0 --out {tmp_path}/x.png', '1 row')
    refused(capsys, f'grid plain --out {tmp_path}/x.gif', 'PNG')

def test_interpolate(capsys, tmp_path):
    assert main(['interpolate', 'plain', '--frames', '8', '--cols', '2', '--scale', '3', '--out', f'{tmp_path}/a.gif'])==0
    with Image.open(tmp_path/'a.gif') as im: assert im.size==(48,24) and im.n_frames==8
    for labels in ([], ['--labels', '3'], ['--labels', '0-3'], ['--labels', '2,7']):
        assert main(['interpolate', 'classes', '--frames', '6', '--out', f'{tmp_path}/b.gif', *labels])==0
    refused(capsys, f'interpolate plain --n-points 1 --out {tmp_path}/x.gif', '2 points')
    refused(capsys, f'interpolate plain --out {tmp_path}/x.webm', '.gif or .mp4')
    refused(capsys, f'interpolate plain --fps 100 --out {tmp_path}/x.gif', '50 or less')

def test_mp4_needs_a_package(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'av', None)
    refused(capsys, f'interpolate plain --frames 4 --out {tmp_path}/x.mp4', r"pip install 'progrow\[video\]'")

def test_evaluate(capsys, tmp_path):
    assert main(f'evaluate plain --metrics swd-quick --n 100 --out {tmp_path}/e.json'.split())==0
    assert 'SWD mean' in capsys.readouterr().out
    assert json.loads((tmp_path/'e.json').read_text())['settings']['n']==100
    refused(capsys, 'evaluate plain/generator.pt', 'does not say which pictures')
    refused(capsys, 'evaluate plain digits --metrics fd', 'needs a network')

@pytest.fixture
def shelf(tmp_path, monkeypatch):
    "Untrained generators in the place of those that come with progrow"
    from progrow import checkpoint
    from progrow.networks import Generator
    from progrow.style import StyleGenerator
    monkeypatch.setattr(checkpoint, 'shipped_folder', tmp_path/'shelf')
    for k,v in {'plain':Generator, 'simple':Generator, 'styled':StyleGenerator}.items():
        checkpoint.save_generator(v(16 if k=='styled' else 8, 1, latent_dim=6, fmap_max=8), tmp_path/'shelf'/f'{k}.pt')
        (tmp_path/'shelf'/f'{k}.json').write_text(json.dumps(dict(pictures='none', licence='free', images_seen=0, judged={}, versions={'torch':'9'}, settings={})))

def test_generators_by_name(capsys, tmp_path, shelf):
    np.savez(tmp_path/'x.npz', images=np.random.default_rng(0).integers(0, 256, (100,1,16,16), np.uint8))
    for words in (f'sample styled --n 4 --psi 0.7 --out {tmp_path}/a.png', f'grid styled --rows 2 --cols 2 --psi 0 --out {tmp_path}/b.png',
                  f'interpolate simple --frames 4 --out {tmp_path}/c.gif', 'evaluate simple digits --metrics swd-quick --n 50', f'evaluate styled {tmp_path}/x.npz --metrics swd-quick --n 50 --psi 0.7'): assert main(words.split())==0
    assert Image.open(tmp_path/'a.png').size==(32,32)
    one = np.asarray(Image.open(tmp_path/'b.png')).astype(int)
    assert abs(one[:16,:16]-one[16:,16:]).max()<=1 # psi 0: the same four times
    for words in ('', '--styles coarse,fine --rows 4 --cols 2 --psi 0.5'): assert main(f'mix styled --out {tmp_path}/d{len(words)}.png {words}'.split())==0
    assert Image.open(tmp_path/'d0.png').size==(7*16,4*16)
    assert main(f'interpolate styled --space w --frames 4 --out {tmp_path}/e.gif'.split())==0
    capsys.readouterr()
    assert main(['info', 'styled', '--json'])==0
    f = json.loads(capsys.readouterr().out)
    assert (f['network'], f['resolution'], f['licence'], f['settings']['latent_dim'])==('StyleGenerator', 16, 'free', 6)
    assert main(['info', 'plain', '--json'])==0 and json.loads(capsys.readouterr().out)['kind']=='run' # a folder of that name comes first
    refused(capsys, f'sample simple --psi 0.5 --out {tmp_path}/x.png', 'no truncation')
    refused(capsys, f'mix simple --out {tmp_path}/x.png', 'for style generators'); refused(capsys, f'mix styled --styles thick --out {tmp_path}/x.png', 'coarse, middle, fine')
    refused(capsys, f'sample style --out {tmp_path}/x.png', 'take one of plain, simple, styled')
    refused(capsys, 'evaluate styled', 'does not say which pictures')

def test_noise(capsys, tmp_path, shelf):
    from progrow import checkpoint
    G = checkpoint.load_generator('styled')
    for m in G.modules():
        if hasattr(m, 'strength'): m.strength.fill_(.5)
    checkpoint.save_generator(G, tmp_path/'n.pt')
    def drawn(words):
        assert main(f'sample {tmp_path}/n.pt --device cpu --n 4 --out {tmp_path}/n.png {words}'.split())==0
        return (tmp_path/'n.png').read_bytes()
    a,fixed,off,other = (drawn(o) for o in ('', '--noise fixed', '--noise off', '--noise random'))
    assert a==fixed and len({fixed, off, other})==3 and other==drawn('--noise random')
    assert main(f'grid styled --noise off --out {tmp_path}/g.png'.split())==0
    refused(capsys, f'sample styled --noise loud --out {tmp_path}/x.png', "'random', 'fixed' or 'off'")
    refused(capsys, f'sample simple --noise off --out {tmp_path}/x.png', 'style generators')

def test_info(capsys, tmp_path):
    def facts(what):
        assert main(['info', str(what), '--json'])==0
        js = json.loads(capsys.readouterr().out)
        assert main(['info', str(what)])==0
        assert js['kind'] in capsys.readouterr().out
        return js
    g = facts('classes/generator.pt')
    assert (g['kind'], g['resolution'], g['settings']['num_classes'])==('generator', 8, 10)
    r = facts('classes')
    assert r['kind']=='run' and r['finished'] and r['files_and_bytes']['generator.pt']==os.path.getsize('classes/generator.pt')
    new = r['newest_checkpoint']
    assert (new['images_seen'], new['of'], new['settings']['discriminator']['num_classes'])==(304, 300, 10)
    assert {'progrow','torch'} <= set(new['versions'])
    c = facts(Path('classes/checkpoints')/r['checkpoints'][0])
    assert c['kind']=='checkpoint' and c['settings']==new['settings']
    assert facts('avatars')['kind']=='built-in set'
    np.savez(tmp_path/'a.npz', images=np.zeros((5,3,16,20), np.uint8), labels=np.arange(5))
    p = facts(tmp_path/'a.npz')
    assert (p['kind'], p['files'], p['smallest'], p['fits_resolution'], p['labels'])==('pictures', 5, '20x16', 16, True)

def test_what_a_report_should_hold(capsys):
    from progrow.edit_commands import system_facts
    assert main(['info', '--system', '--json'])==0
    js = json.loads(capsys.readouterr().out)
    assert js==system_facts() and {'python','progrow','torch','fastai','numpy'}==set(js['versions'])
    assert js['device'] in ('cpu','cuda','mps') and js['threads']==torch.get_num_threads() and js['cores']==os.cpu_count() and js['processor']
    assert (js['gpus'] is None)!=torch.cuda.is_available()
    assert main(['info', '--system'])==0
    out = capsys.readouterr().out
    assert str(torch.__version__) in out and str(Path.home()) not in out and os.getcwd() not in out

def test_info_refuses(capsys, tmp_path):
    torch.save({'a':torch.ones(2)}, tmp_path/'other.pt')
    (tmp_path/'cut.pt').write_bytes(Path('plain/generator.pt').read_bytes()[:5000])
    (tmp_path/'a.txt').write_text('x')
    for words,match in (('', 'say what to look at'), ('styled --system', 'say what to look at'), (f'{tmp_path}/other.pt', 'not a generator of progrow'), (f'{tmp_path}/cut.pt', 'damaged'), (f'{tmp_path}/a.txt', 'nothing that progrow knows'), ('nowhere', 'no file or folder'), ('nowhere.pt', 'no file')):
        refused(capsys, f'info {words}', match)

def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv('PROGROW_DEBUG', '1')
    with pytest.raises(FileNotFoundError): main(['data', 'nowhere'])

def test_bugs_are_not_hidden(monkeypatch):
    def broken(x:int=0, *, y:int=0): "Break"; raise KeyError('y')
    monkeypatch.setitem(commands, 'broken', broken)
    with pytest.raises(KeyError): main(['broken'])

def test_exit_codes_of_the_process():
    assert script('grid').returncode==2
    r = script('info', 'nowhere')
    assert r.returncode==1 and r.stderr.count('\n')==1 and not r.stdout

@pytest.mark.skipif(os.name!='posix', reason='signals of POSIX')
@pytest.mark.parametrize('number,code,word', [('SIGINT', 130, 'stopped'), ('SIGTERM', 143, 'told to stop'), ('SIGHUP', 129, 'told to stop')])
def test_stopped_while_training(tmp_path, number, code, word):
    run = tmp_path/'a run'
    cmd = [sys.executable, '-u', '-m', 'progrow.cli', 'train', 'digits', '--path', str(run), '--resolution', '8', '--device', 'cpu', '--fmap-base', '32', '--schedule', 'minutes:total_kimg=20']
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in p.stderr:
        if ' kimg, ' in line: break
    p.send_signal(getattr(signal, number))
    out,err = p.communicate(timeout=120)
    assert p.returncode==code, err
    assert f"{word}; go on with: progrow resume '{run}'" in err and 'Traceback' not in err
    assert len(list((run/'checkpoints').glob('*.pt')))==1
    assert main(['sample', str(run), '--out', str(tmp_path/'s.png')])==0

@pytest.mark.skipif(os.name!='posix', reason='signals of POSIX')
def test_stopped_before_training(tmp_path):
    p = subprocess.Popen([sys.executable, '-m', 'progrow.cli', 'train', 'avatars', '--n', '200000', '--path', str(tmp_path/'r'), '--cache', str(tmp_path/'c')], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path/'c').exists() and p.poll() is None: time.sleep(.05)
    time.sleep(.5)
    p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=120)
    assert p.returncode==130 and 'stopped; nothing was saved yet' in err
    assert not list((tmp_path/'c').iterdir())  # half a cache is taken away

@pytest.mark.skipif(os.name!='posix', reason='pipes of POSIX')
def test_reader_that_goes_away():
    r = subprocess.run(f'"{sys.executable}" -m progrow.cli train --help | true', shell=True, capture_output=True, text=True)
    assert 'Traceback' not in r.stderr and 'BrokenPipe' not in r.stderr

def test_resume(capsys, tmp_path):
    refused(capsys, f'resume {tmp_path}', 'give the folder of a run')
    (tmp_path/'checkpoints').mkdir()
    refused(capsys, f'resume {tmp_path}', 'no checkpoint')

@pytest.mark.skipif(os.name!='posix', reason='pipes of POSIX')
def test_training_outlives_its_reader(tmp_path):
    sizes = f'--resolution 8 --device cpu --fmap-base 32 --latent-dim 8 --schedule {few} --path {tmp_path}/r'
    r = subprocess.run(f'"{sys.executable}" -u -m progrow.cli train digits {sizes} 2>&1 | head -1', shell=True, capture_output=True, text=True, timeout=240)
    assert r.stdout.startswith('300 images to go') and r.stdout.count('\n')==1 and not r.stderr
    assert (tmp_path/'r'/'generator.pt').exists() and len(list((tmp_path/'r'/'checkpoints').glob('*.pt')))==1

def test_json_is_json_on_a_fresh_cache(tmp_path):
    for i in range(2):
        r = script('data', 'glyphs', '--n', '1100', '--resolution', '8', '--json', '--preview', f'{tmp_path}/p.png', '--cache', f'{tmp_path}/c')
        assert r.returncode==0 and json.loads(r.stdout)['pictures']==1100, r.stderr
        assert 'preview: ' in r.stderr # a note

def test_what_is_printed_on_the_way_is_a_note(monkeypatch, capsys):
    def chatty(*, loud:bool=False): "Chat"; print('on the way'); return 'the result'
    monkeypatch.setitem(commands, 'chatty', chatty)
    assert main(['chatty'])==0 and capsys.readouterr()==('the result\n', 'on the way\n')

def test_a_run_of_years_wants_a_yes(monkeypatch, capsys, tmp_path):
    from progrow import callbacks
    monkeypatch.setattr(callbacks, 'seconds_per_image', lambda *_: {4:1000., 8:1000.})
    words = f'train digits --resolution 8 --device cpu --quiet --fmap-base 32 --latent-dim 8 --schedule {few} --path {tmp_path}/r'
    refused(capsys, words, r'would take about 3\.5 days .*: pass --yes to start it all the same, --dry-run to see')
    assert not (tmp_path/'r'/'settings.json').exists()
    assert main([*words.split(), '--yes'])==0

def test_the_help_quotes_braces(capsys):
    assert main(['train', '--help'])==0
    out = ' '.join(capsys.readouterr().out.split())
    assert "'minutes:total_kimg=90,batch_size={4:16,16:8}'" in out and not re.search(r"(?<!')(minutes|official):\w+=[^' ]*\{", out)
    with pytest.raises(ValueError, match='a shell wants the quotes'): options('minutes:stabilize_kimg=4:4')

def test_samples_are_png_and_leave_none_behind(capsys, tmp_path):
    refused(capsys, f'sample plain --out {tmp_path}/a.jpg', 'written as PNG')
    assert not (tmp_path/'a.jpg').exists()
    assert main(f'sample plain --n 5 --out {tmp_path}/s'.split())==0 and main(f'sample plain --n 5 --out {tmp_path}/s'.split())==0
    refused(capsys, f'sample plain --n 3 --out {tmp_path}/s', 'holds 2 other pictures, such as 0003.png')
    assert len(list((tmp_path/'s').iterdir()))==6
    assert main(f'sample plain --n 8 --out {tmp_path}/s'.split())==0

def test_classes_by_name(monkeypatch, capsys, tmp_path):
    from progrow import pretrained
    names,opened = ['coat','bag','7-up',*'defghij'],pretrained.opened
    def named(*args): G = opened(*args); G.classes = names; return G
    def drawn(labels):
        assert main(f'sample classes --n 4 --labels {labels} --out {tmp_path}/a.png'.split())==0
        return (tmp_path/'a.png').read_bytes()
    by_number = drawn('1,2')
    monkeypatch.setattr(pretrained, 'opened', named)
    assert drawn('bag,7-up')==drawn('1-2')==by_number!=drawn('coat')
    refused(capsys, f'sample classes --labels bog --out {tmp_path}/a.png', 'or names: coat, bag')

def test_evaluate_judges_by_the_pictures_of_the_run(runs, tmp_path):
    settings = json.loads((runs/'plain'/'settings.json').read_text())['settings']
    assert main(f'evaluate plain --metrics swd-quick --n 100 --out {tmp_path}/e.json'.split())==0
    assert json.loads((tmp_path/'e.json').read_text())['settings']['digest']==settings['images']['digest']

def test_resume_goes_further(monkeypatch, capsys):
    from progrow import resume, train
    given = []
    monkeypatch.setattr(resume, 'resume_run', lambda *args, **kw: given.append(kw) or train.progressive_learner('digits', 8, device='cpu'))
    for words,want in (('', {}), ('--total-kimg 9 --resolution 16 --more-images', dict(total_kimg=9., resolution=16, more_images=True))):
        assert main(f'resume plain {words}'.split())==0 and given.pop()==want

@pytest.mark.skipif(os.name!='posix', reason='terminals of POSIX')
def test_a_terminal_that_is_closed_loses_nothing(tmp_path):
    import pty, select
    words = f'train digits --resolution 8 --device cpu --fmap-base 32 --latent-dim 8 --schedule minutes:total_kimg=90 --path {tmp_path}/r'.split()
    pid,fd = pty.fork()
    if pid==0: os.execv(sys.executable, [sys.executable, '-W', 'ignore', '-m', 'progrow.cli', *words])
    seen,end = b'',time.time()+60
    while b'so far' not in seen and time.time()<end:
        if select.select([fd], [], [], 1)[0]: seen += os.read(fd, 4096)
    time.sleep(1)
    os.close(fd) # the window is gone
    for _ in range(600):
        done,status = os.waitpid(pid, os.WNOHANG)
        if done: break
        time.sleep(.1)
    else: os.kill(pid, 9)
    assert b'so far' in seen and os.waitstatus_to_exitcode(status)==129 and len(list((tmp_path/'r'/'checkpoints').glob('*.pt')))==1
