"What scripts write: one form, whole files, work that is not repeated."
import ast, importlib, json, os, statistics
import pytest
from helpers import root

tools = root/'tools'
writers = ('bench','bench_swd','demo','demo_seeds','gpu_check','pair','style_configs')

@pytest.fixture
def tool(monkeypatch):
    "A script of these folders, by its name"
    monkeypatch.syspath_prepend(tools)
    monkeypatch.syspath_prepend(tools/'experiments')
    return importlib.import_module

@pytest.fixture
def results(tool): return tool('results')

def kept_in(path): return json.loads((root/'nbs'/'assets'/path).read_text(encoding='utf-8'))
def prose(page):
    "All that a page says"
    return '\n'.join(''.join(c['source']) for c in json.loads((root/'nbs'/f'{page}.ipynb').read_text(encoding='utf-8'))['cells'] if c['cell_type']=='markdown')

def test_a_file_says_how_it_came_about(results, tmp_path):
    made = results.write(tmp_path/'deep'/'a.json', dict(seeds=(0,1)), ['numpy'], on=dict(load=.5), rows={1: .25})
    assert made==results.read(tmp_path/'deep'/'a.json') and results.read(tmp_path/'b.json') is None
    assert made['settings']=={'seeds':[0,1]} and made['rows']=={'1':.25}
    assert set(made['machine'])=={'processor','cores','system','load'} and made['machine']['processor']
    assert set(made['versions'])=={'python','progrow','torch','numpy'}
    with pytest.raises(TypeError): results.write(tmp_path/'deep'/'a.json', {}, rows=object())
    assert results.read(tmp_path/'deep'/'a.json')==made and os.listdir(tmp_path/'deep')==['a.json']

def test_only_what_is_missing_is_made(results, tmp_path, monkeypatch):
    calls,path = [],tmp_path/'a.json'
    def make():
        calls.append(1)
        return dict(row=len(calls))
    def kept(**settings): return results.kept(path, settings, make, same=('machine','versions'))['row']
    assert kept(n=(1,2))==kept(n=[1,2])==1 and kept(n=3)==2
    monkeypatch.setattr(results, 'processor', lambda: 'another')
    assert kept(n=3)==3==results.kept(path, dict(n=3), make)['row']
    with pytest.raises(KeyboardInterrupt): results.kept(path, dict(n=4), lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert kept(n=3)==3

@pytest.mark.parametrize('name', writers)
def test_scripts_write_by_it(name):
    text = (tools/f'{name}.py').read_text(encoding='utf-8')
    assert 'results.write(' in text and 'write_text(' not in text and 'importlib.metadata' not in text
    assert ast.get_docstring(ast.parse(text)).count('usage: ')==1

@pytest.mark.parametrize('path', ('demo/results.json','demo/digits.json','demo/fashion.json','demo/seeds.json','swd/bench.json','style/configs.json','speed/growing.json'))
def test_what_is_kept_says_its_settings_and_versions(path):
    made = kept_in(path)
    assert made['settings'] and made['versions']['torch'] and len(made)>2

# --- growing against not growing

def test_growing_would_be_run_with_the_settings_of_the_kept_rows(tool, results):
    growing,made = tool('growing'),kept_in('speed/growing.json')
    assert results.plain(growing.told(made['settings']['n']))==made['settings']
    assert [o['asked'] for o in made['rows']]==[dict(arm=a, seed=s) for s in growing.seeds for a in growing.arms]

def test_the_page_on_growing_says_what_the_file_says():
    rows,text = kept_in('speed/growing.json')['rows'],prose('92_growing')
    def mean(arm, of): return statistics.mean(of(o) for o in rows if o['asked']['arm']==arm)
    images,seconds = ([mean(arm, lambda o: o[k]) for arm in ('growing','fixed')] for k in ('images','cpu_seconds'))
    end = mean('fixed', lambda o: o['curve'][-1]['SWD mean'])
    def reached(curve): # by SWD, for good
        a,b = next((a,b) for a,b in zip(curve[-2::-1], curve[::-1]) if a['SWD mean']>end)
        return a['cpu_seconds']+(b['cpu_seconds']-a['cpu_seconds'])*(a['SWD mean']-end)/(a['SWD mean']-b['SWD mean'])
    sooner = mean('growing', lambda o: seconds[1]/reached(o['curve']))
    for said in (f'1/{images[0]/images[1]:.2f} of', f'{sooner:.2f} times as fast', f'took {seconds[0]:.0f} CPU seconds', f'a fixed one {seconds[1]:.0f},',
                 f"{sum(o['cpu_seconds'] for o in rows)/60:.0f} minutes of one core"): assert said in text, said
