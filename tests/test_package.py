"The package and its notebooks as a whole: light to import, no nbdev inside, layers in order, clean saved outputs."
import ast, importlib, json, os, re, subprocess, sys
from configparser import ConfigParser
from functools import partial
from pathlib import Path
from types import SimpleNamespace
import pytest
from packaging.requirements import Requirement
import progrow

root = Path(__file__).parents[1]
modules = {p.stem: p for p in sorted(Path(progrow.__file__).parent.glob('*.py')) if not p.stem.startswith('_')}
pages = sorted((root/'nbs').glob('[0-9]*.ipynb'))
alone = 'equalized pixelnorm minibatch_stddev fade_in schedule swd feature_metrics'.split()

def python(code): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
def cells(page): return json.loads(page.read_text(encoding='utf-8'))['cells']
def outputs(page): return [o for c in cells(page) for o in c.get('outputs', [])]

def settings():
    ini = ConfigParser(delimiters=['='])
    if not ini.read(root/'settings.ini', encoding='utf-8'): pytest.skip('not in a checkout')
    return ini['DEFAULT']

def number(module):
    "The number of the notebook that a module was exported from"
    return int(re.search(r'File to edit: \.\./nbs/(\d+)_', modules[module].read_text(encoding='utf-8'))[1])

def imports(module):
    "The modules of ours that a module imports, at its top or inside a function"
    for n in ast.walk(ast.parse(modules[module].read_text(encoding='utf-8'))):
        if isinstance(n, ast.ImportFrom) and (n.level or n.module.split('.')[0]=='progrow'):
            name = (n.module or '').removeprefix('progrow').lstrip('.')
            yield from [name] if name else [a.name for a in n.names]
        if isinstance(n, ast.Import): yield from (a.name.split('.')[1] for a in n.names if a.name.startswith('progrow.'))

def test_import_is_light():
    r = python("import sys, time; t=time.perf_counter(); import progrow; print(time.perf_counter()-t, *sys.modules)")
    seconds,*loaded = r.stdout.split()
    assert not {'torch', 'fastai', 'matplotlib', 'numpy'} & set(loaded)
    assert float(seconds)<1

def test_no_module_needs_nbdev():
    code = "import importlib, sys; sys.modules['nbdev']=None\nfor m in %r: importlib.import_module('progrow.'+m)" % list(modules)
    r = python(code)  # None in sys.modules makes any import of nbdev fail
    assert r.returncode==0, r.stderr[-2000:]

@pytest.mark.parametrize('module', modules)
def test_imports_only_from_lower_numbers(module):
    ours = set(imports(module))
    assert not {m for m in ours if number(m)>=number(module)}
    if module in alone: assert not ours

elsewhere_now = dict( # names that moved, by the module where they were first
    callbacks='images_left Checkpoints Guard', checkpoint='atomic_write folder_lock', data='avatars glyphs digits stacked_digits builtin_sets digits_licence fit_image',
    explore='draw random_latents', metrics='sliced_wasserstein ms_ssim mode_coverage frechet_distance kernel_distance inception_score perceptual_path_length feature_network',
    networks='conv2d_downsample upsample_conv2d', style='Generator Discriminator',
    train='''sample_images load_generator digest join_processes first_here GrowthCallback FiniteLoss FiniteSteps ProgressiveGAN ProgressiveLearner step_seed
             loss_names pick_loss pick_device network_names build_networks check_images rebuild''')

@pytest.mark.parametrize('module', elsewhere_now)
def test_names_stay_importable_where_they_were(module):
    found = importlib.import_module(f'progrow.{module}')
    assert all(callable(getattr(found, n)) or getattr(found, n) is not None for n in elsewhere_now[module].split())

@pytest.mark.parametrize('page', pages, ids=lambda p: p.stem)
def test_saved_outputs(page):
    outs = outputs(page)
    assert any(k.startswith('image/') or k in ('text/html','text/markdown') for o in outs for k in o.get('data', {})), 'saved without its figures: run it before saving'
    for o in outs:
        assert o['output_type']!='error' and o.get('name')!='stderr', ''.join(o.get('text', o.get('traceback', [])))
        texts = [o.get('text', '')] + [v for k,v in o.get('data', {}).items() if k.startswith('text/')]
        for t in texts:
            t = re.sub(r'base64,[\w+/=]+', '', ''.join(t))
            path = re.search(r'(?<![\w.])(/(home|root|Users|tmp|private|var|mnt)/|[A-Z]:\\)\S*|site-packages', t)
            assert not path, f'a path of one machine: {path[0]}'

def test_settings():
    cfg = settings()
    needs = {r.name: r for r in map(Requirement, cfg['requirements'].split())}
    assert 'nbdev' not in needs and '<' not in str(needs['fastcore'].specifier)
    assert all(map(Requirement, cfg['dev_requirements'].split()))
    assert progrow.__version__==cfg['version']

def test_setup_names_missing_settings(tmp_path):
    pytest.importorskip('setuptools')
    settings()
    (tmp_path/'setup.py').write_text((root/'setup.py').read_text())
    (tmp_path/'settings.ini').write_text('\n'.join(l for l in (root/'settings.ini').read_text().splitlines() if not l.startswith('author =')))
    r = subprocess.run([sys.executable, 'setup.py', '--name'], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode and 'no value for: author' in r.stderr

def test_links_of_the_description_work_on_a_package_index():
    pytest.importorskip('setuptools')
    settings()
    r = subprocess.run([sys.executable, 'setup.py', '--long-description'], cwd=root, capture_output=True, text=True)
    links = re.findall(r'\]\(([^)\s]+)', r.stdout) + re.findall(r'(?:src|srcset|href)="([^"]+)', r.stdout)
    assert r.returncode==0 and len(links)>20 and all(re.match('https?://|#', o) for o in links), r.stderr[-500:]
    pictures = re.findall(r'!\[[^\]]*\]\(([^)\s]+)', r.stdout)
    assert pictures and all('/raw/main/nbs/assets/' in o for o in pictures)

def test_readme_says_how_to_do_without_gpu_packages():
    settings()
    assert '--index-url https://download.pytorch.org/whl/cpu' in (root/'README.md').read_text(encoding='utf-8')

def test_readme_names_both_commands():
    settings()
    text = (root/'README.md').read_text(encoding='utf-8')
    assert 'make demo' in text and 'make test' in text

def test_readme_numbers_are_those_of_the_run():
    "The table and the minutes of the first page come from the results that are kept beside its pictures"
    readme,results = root/'README.md',root/'nbs'/'assets'/'demo'/'results.json'
    if not results.exists(): pytest.skip('not in a checkout')
    run,text = json.loads(results.read_text(encoding='utf-8')),readme.read_text(encoding='utf-8')
    assert f"in {sum(run['seconds'].values())/60:.0f} minutes on the two cores" in text
    for v in run['swd'].values(): assert ' | '.join(f'{o:.1f}' for o in v.values()) in text

# --- what a reader sees of a page, and takes elsewhere

@pytest.fixture
def visible(monkeypatch):
    if not (root/'tools').exists(): pytest.skip('not in a checkout')
    monkeypatch.syspath_prepend(root/'tools')
    return importlib.import_module('visible')

@pytest.mark.parametrize('page', pages, ids=lambda p: p.stem)
def test_visible_code_uses_no_name_from_nowhere(visible, page): assert visible.complete(cells(page))[2]==[]

def test_what_visible_code_needs_is_found(visible):
    def page(*sources): return [dict(cell_type='code', id=str(i), source=s) for i,s in enumerate(sources)]
    found = visible.complete(page('#| default_exp m', '#| hide\nimport os\nfrom math import pi', '#| hide\nunused = 1', '#| exporti\ndef _f(): return 1',
                                  '#| exports\ndef g(x, y=pi):\n    z = _f()\n    return [o+z for o in x]', 'g(lost)', '#| exporti\n@patch\ndef more(self:G): pass',
                                  '#| exports\nclass G: pass'))
    assert found==(['1','6'], ['_f'], ['lost', 'patch'])

@pytest.mark.parametrize('stem', ('21_pixelnorm',))
def test_page_runs_from_its_visible_code_in_an_empty_folder(visible, stem, tmp_path):
    code = '\n'.join(visible.reader_sees(cells(root/'nbs'/f'{stem}.ipynb'), (root/'nbs').as_uri()))
    r = subprocess.run([sys.executable, '-c', 'from builtins import print as display\n'+code], cwd=tmp_path, capture_output=True, text=True,
                       env={**os.environ, 'MPLBACKEND': 'agg'})
    assert r.returncode==0, r.stderr[-2000:]

def test_results_of_a_page_are_fetched_where_they_are_missing(visible, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "small = read(pages/'assets/evidence/style.json', Path('assets/swd/bench.json'))"
    for _ in range(2): exec(visible.results_code(code, (root/'nbs').as_uri()), {})
    for f in ('evidence/style.json','swd/bench.json'): assert json.loads((tmp_path/'assets'/f).read_text()) and f in visible.results_code(code, '')
    assert visible.results_code('plot()', '')=='' and 'a.png' in visible.results_code("imread('assets/x/a.png')", '')

@pytest.mark.parametrize('page', pages, ids=lambda p: p.stem)
def test_first_cell_installs_in_colab_only_and_leaves_torch_alone(page, monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager
    first = ''.join(next(c for c in cells(page) if c['cell_type']=='code')['source'])
    code,done = TransformerManager().transform_cell(first),[]
    shell = SimpleNamespace(system=done.append, run_line_magic=lambda *a: done.append(' '.join(a)))
    run = partial(exec, code, dict(get_ipython=lambda: shell))
    monkeypatch.delitem(sys.modules, 'google.colab', raising=False)
    run()
    assert done==[]
    monkeypatch.setitem(sys.modules, 'google.colab', SimpleNamespace())
    run()
    assert done[0]=='pip list --format=freeze | grep ^torch > torch.txt' and '-c torch.txt' in done[1] and done[2]=='cd progrow/nbs'
