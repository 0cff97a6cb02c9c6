"What scripts write: one form, whole files, work that is not repeated."
import ast, json, os
import pytest
from helpers import root

tools = root/'tools'
writers = ('bench','bench_swd','demo','demo_seeds','gpu_check','pair','style_configs')

@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(tools)
    import results
    return results

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
    made = json.loads((root/'nbs'/'assets'/path).read_text(encoding='utf-8'))
    assert made['settings'] and made['versions']['torch'] and len(made)>2
