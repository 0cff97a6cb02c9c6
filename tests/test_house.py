"""The house: how long lines, modules and pages may be, how many names are public, what imports what. `python tests/test_house.py` prints the figures.

Figures are counted in the source, without importing it; `limits` says what they may be."""
import ast, importlib, json, re, statistics, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).parents[1]
modules = {p.stem: p for p in sorted((root/'progrow').glob('*.py')) if not p.stem.startswith('_')}
limits = {'lines over 140': 0, 'lines over 120': 149, 'lines of the longest module': 420, 'lines of train': 299,
          'methods patched on the learner': 18, 'getattr and hasattr': 25, 'public names': 140}

# Rooms of what was added since: each may offer five names of its own
later_rooms = {'best', 'compare', 'directions', 'drawings', 'edit_commands', 'fetching', 'golden', 'image_sets', 'large_sets', 'layer_table', 'looking', 'official', 'onnx_export', 'pickles', 'pretrained', 'projection', 'small_photos', 'starting', 'switches', 'watching', 'written_sets'}

def source(module): return modules[module].read_text(encoding='utf-8')
trees = {m: ast.parse(source(m)) for m in modules}

# --- figures of the package

def name_of(node):
    "`patch`, `basics.patch`, `patch(as_prop=True)` -> patch"
    if isinstance(node, ast.Call): node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, 'id', '')

def patched_on(function):
    "The class, or classes, that `@patch` or `@patch_to` puts a function on; '' for any other function"
    first = (function.args.posonlyargs+function.args.args)[:1]
    for d in function.decorator_list:
        if name_of(d)=='patch_to': return ast.unparse(d.args[0])
        if name_of(d)=='patch' and first and first[0].annotation: return ast.unparse(first[0].annotation)
    return ''

def public(module):
    "The names of a module's `__all__`: nbdev writes all that a page exports, and the page itself then says what users import"
    found = []
    for node in trees[module].body:
        if isinstance(node, ast.Assign) and name_of(node.targets[0])=='__all__': found = ast.literal_eval(node.value)
    return found

def test_every_module_says_what_is_public():
    for m in modules:
        names = public(m)
        assert names and len(set(names))==len(names), m
        assert all(hasattr(importlib.import_module(f'progrow.{m}'), n) for n in names), m
        assert source(m).count('__all__ = ')==2, f'{m} has no list of its own: add the cell "What users import"'

def figures():
    "Figure -> number"
    lines = {m: source(m).splitlines() for m in modules}
    widths = [len(l) for m in modules for l in lines[m]]
    nodes = [n for t in trees.values() for n in ast.walk(t)]
    functions = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {'lines over 140': sum(w>140 for w in widths), 'lines over 120': sum(w>120 for w in widths),
            'lines of the longest module': max(map(len, lines.values())), 'lines of train': len(lines['train']),
            'methods patched on the learner': sum('ProgressiveLearner' in patched_on(f) for f in functions),
            'getattr and hasattr': sum(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in ('getattr','hasattr') for n in nodes),
            'public names': len({n for m in modules if m not in later_rooms for n in public(m)})}

@pytest.mark.parametrize('figure', limits)
def test_figure(figure):
    found = figures()[figure]
    assert found<=limits[figure], f'{figure}: {found}, may be {limits[figure]}. {worst(figure)}'

@pytest.mark.parametrize('module', sorted(later_rooms))
def test_a_later_room_offers_at_most_five_names(module): assert len(public(module))<=5

def worst(figure):
    "Where to look first"
    if figure.startswith('lines over'):
        over = {m: sum(len(l)>int(figure[-3:]) for l in source(m).splitlines()) for m in modules}
    elif 'module' in figure: over = {m: len(source(m).splitlines()) for m in modules}
    elif figure=='public names': over = {m: len(set(public(m))) for m in modules}
    elif 'hasattr' in figure: over = {m: len(re.findall(r'\b(?:get|has)attr\(', source(m))) for m in modules}
    else: return ''
    return 'Most in ' + ', '.join(f'{m} ({n})' for m,n in sorted(over.items(), key=lambda o: -o[1])[:5])

def test_figures_are_counted_right():
    "On code whose figures are plain to see"
    tree = ast.parse('@patch\ndef a(self:ProgressiveLearner): pass\n@patch(as_prop=True)\ndef b(self:ProgressiveLearner|Other): pass\n'
                     '@patch\ndef c(self:Other): pass\ndef d(self:ProgressiveLearner): pass\n@patch\ndef e(): pass\n@patch_to(ProgressiveLearner)\ndef f(o): pass\n')
    assert [patched_on(f) for f in tree.body]==['ProgressiveLearner', 'ProgressiveLearner | Other', 'Other', '', '', 'ProgressiveLearner']
    assert {'ImagePyramid', 'image_pyramid'}<=set(public('data')) and not any(n.startswith('_') for m in modules for n in public(m))

# --- what others may rely on: module -> names

contract = {
    'images': 'to_uint8 from_uint8 image_grid show_images save_images Frames',
    'data': 'ImagePyramid image_pyramid avatars glyphs digits stacked_digits',
    'equalized': 'he_constant EqualizedConv2d EqualizedLinear',
    'pixelnorm': 'pixel_norm PixelNorm',
    'minibatch_stddev': 'minibatch_stddev MinibatchStdDev',
    'fade_in': 'upsample downsample fade',
    'networks': 'Generator Discriminator',
    'schedule': 'GrowthSchedule GrowthState',
    'losses': 'WGANGP LSGAN NonSaturating gradient_penalty r1_penalty',
    'train': 'preset fit_progressive progressive_learner GrowthCallback load_generator sample_images',
    'metrics': 'sliced_wasserstein ms_ssim frechet_distance kernel_distance inception_score mode_coverage perceptual_path_length feature_network evaluate',
    'runs': 'open_generator',
    'style_layers': 'MappingNetwork AdaIN NoiseInjection blur',
    'style': 'StyleGenerator StyleDiscriminator style_config'}
methods = {
    ('data','ImagePyramid'): 'level batch dataloaders __len__',
    ('schedule','GrowthSchedule'): 'plot table state_changes __call__',
    ('train','ProgressiveLearner'): 'sample resume',
    **{('losses',loss): 'discriminator_loss generator_loss' for loss in ('WGANGP','LSGAN','NonSaturating')}}

@pytest.mark.parametrize('module', contract)
def test_public_names(module):
    found = importlib.import_module(f'progrow.{module}')
    missing = []
    for name in contract[module].split():
        try: getattr(found, name)
        except AttributeError: missing.append(name)
    assert not missing

@pytest.mark.parametrize('module,name', methods, ids='.'.join)
def test_public_methods(module, name):
    cls = getattr(importlib.import_module(f'progrow.{module}'), name)
    assert not [m for m in methods[module,name].split() if not hasattr(cls, m)]

def test_data_loads_no_drawing_library():
    code = 'import progrow.data, sys; print(*[m for m in sys.modules if m.split(".")[0].startswith(("dicebear", "resvg"))])'
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.returncode==0, r.stderr[-2000:]
    assert r.stdout.split()==[]

# --- pages

CHECK = re.compile(r'\b(test_\w+|expect_fail|ExceptionExpected)\s*\(|^\s*assert\b', re.M)
EXPORT = re.compile(r'^#\|\s*export[is]?\s*$', re.M)
budgets = {'code cells': 45, 'median lines': 5, 'p90 lines': 15, '% of cells without a check': 75, 'exporting cells in a row': 3}
held = '11_sources 12_data 13_sets 42_learner 43_runs 45_train 79_commands 82_cli'.split()

def page_figures(cells):
    "Budget -> number, of the cells of a notebook"
    code = [''.join(c['source']) for c in cells if c['cell_type']=='code']
    code = [c for c in code if lines_of(c) and 'google.colab' not in c]
    size = sorted(len(lines_of(c)) for c in code)
    row = longest = 0 # exporting cells since the last check
    for c in code:
        row = 0 if CHECK.search(c) and not EXPORT.search(c) else row+bool(EXPORT.search(c))
        longest = max(longest, row)
    unchecked = 100*sum(not CHECK.search(c) for c in code)/len(code)
    return dict(zip(budgets, (len(code), statistics.median(size), size[min(len(size)-1, int(.9*len(size)))], round(unchecked), longest)))

def lines_of(cell): return [l for l in cell.splitlines() if l.strip() and not l.lstrip().startswith('#|')]
def page(name): return json.loads((root/'nbs'/f'{name}.ipynb').read_text(encoding='utf-8'))['cells']
here = [p for p in held if (root/'nbs'/f'{p}.ipynb').exists()]

@pytest.mark.parametrize('name', here)
def test_page_keeps_its_budget(name):
    found = page_figures(page(name))
    assert not {k: (v, budgets[k]) for k,v in found.items() if v>budgets[k]}

def test_page_figures_are_counted_right():
    def cells(*sources): return [dict(cell_type='code', source=[s]) for s in sources]
    e,check,plain = '#| export\nx = 1\ny = 2', 'test_eq(1, 1)', 'x'
    assert list(page_figures(cells(e, e, check, e, plain, e, plain, e, check, '#| hide\n')).values())==[9, 2, 2, 78, 3]

# --- a line a figure

def report():
    print(*(f'{k}: {v} (limit {limits[k]})' for k,v in figures().items()), sep=' | ')
    for name in here: print(name, *(f'{k}: {v} (limit {budgets[k]})' for k,v in page_figures(page(name)).items()), sep=' | ')

def test_report(): report() # pytest shows it with -s

if __name__=='__main__': report()
