"What scripts write: one form, whole files, work that is not repeated."
import ast, importlib, json, os, re, statistics, threading
import pytest, torch
from pathlib import Path
from helpers import noise as bytes_of, root
from progrow.data import ImagePyramid, pyramid_levels
from progrow.losses import NonSaturating
from torch.nn.utils import parameters_to_vector

tools = root/'tools'
writers = ('bench','bench_swd','demo','demo_seeds','gpu_check','pair')

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

@pytest.mark.parametrize('path', ('demo/results.json','demo/digits.json','demo/fashion.json','demo/seeds.json','swd/bench.json','evidence/style.json','speed/growing.json','speed/bench.json','speed/time_to_quality.json','search/trials.json'))
def test_what_is_kept_says_its_settings_and_versions(path):
    made = kept_in(path)
    assert made['settings'] and made['versions']['torch'] and len(made)>2

# --- rows of experiments

def test_rows_are_made_once_in_order_and_one_at_a_time_if_asked(tool, results, tmp_path, capsys):
    make_rows,made,path = tool('trials').make_rows,[],tmp_path/'rows.json'
    wanted = [dict(arm='a', at={4:(1,2)}), dict(arm='b', at={4:(1,2)}), dict(arm='c', at={4:(1,2)})]
    def make(asked):
        assert set(results.read(path)['rows'][-1]['asked'])=={'arm','at'} if made else not path.exists() # the last one is in the file already
        made.append(asked['arm'])
        return dict(images=len(made))
    def rows(**kwargs): return make_rows(path, dict(n=3), wanted, make, **kwargs)
    assert not rows(once=True) and made==['a'] and not rows(once=True) and made==['a','b'] # rows are missing
    assert rows() and made==['a','b','c'] and rows(once=True) and rows() and len(made)==3
    kept = results.read(path)
    assert [(o['asked']['arm'], o['images']) for o in kept['rows']]==[('a',1), ('b',2), ('c',3)] and kept['settings']==dict(n=3)
    with pytest.raises(SystemExit, match='other settings'): make_rows(path, dict(n=4), wanted, make)
    assert results.read(path)==kept and len(made)==3

def test_a_row_that_fails_leaves_those_before_it(tool, results, tmp_path):
    def make(asked): return dict(share=1/asked['left'])
    with pytest.raises(ZeroDivisionError): tool('trials').make_rows(tmp_path/'rows.json', {}, [dict(left=2), dict(left=0)], make)
    assert [o['share'] for o in results.read(tmp_path/'rows.json')['rows']]==[.5]

def test_the_search_would_make_no_kept_row_again(tool, results):
    search,made = tool('search'),kept_in('search/trials.json')
    there = [o['asked'] for o in made['rows']]
    assert len({json.dumps(o, sort_keys=True) for o in there})==len(there)>=24
    begun = {o['name'] for o in there}
    known = [results.plain(search.asked(t, seed)) for t in search.trials if t['name'] in begun for seed in t.get('seeds', (0,))]
    assert len(known)>=20 and all(o in there for o in known)
    assert made['settings']['start']==results.plain(search.told(search.start))
    assert made['settings']['budget']==search.flops(search.learner(ImagePyramid(pyramid_levels(bytes_of(8))), {}))

small = dict(schedule=dict(stabilize_kimg=.016, fade_kimg=.016, batch_size=4, learning_rate=.004), loss=NonSaturating(r1=.1, r1_every=4),
             latent_dim=8, fmap_base=32, fmap_max=8, average_kimg=.02)

def small_run(tool, **ideas):
    learn,drawn = tool('trials').learner(ImagePyramid(pyramid_levels(bytes_of(8))), {**small, **ideas}),[]
    learn.model.generator.register_forward_hook(lambda *o: drawn.append(torch.is_grad_enabled()) if learn.model.training else None)
    before = parameters_to_vector(learn.model.generator.parameters()).detach().clone()
    learn.fit(show='nothing')
    assert (parameters_to_vector(learn.model.generator.parameters())!=before).any()
    return learn,drawn

def test_an_idea_of_the_search_changes_what_it_says_and_nothing_else(tool):
    (plain,usual),(reused,once) = small_run(tool),small_run(tool, reuse_fakes=True)
    steps = len(plain.history.rows)
    assert len(reused.history.rows)==steps and usual.count(True)==once.count(True)==steps and len(usual)-len(once)==steps
    flops = tool('trials').flops
    assert .8*flops(plain)<flops(reused)<.97*flops(plain)
    assert reused.players.draw(2, 8).requires_grad # as before, once the run is over

def test_more_averages_are_what_the_average_of_a_run_would_be(tool):
    learn,_ = small_run(tool, averages=(.02,.1))
    own,long = learn.more_averages.networks.values()
    weights = [parameters_to_vector(o.parameters()) for o in (learn.model.averaged, own, long, small_run(tool, average_kimg=.1)[0].model.averaged)]
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[2], weights[3]) and not torch.equal(weights[0], weights[2])
    again = tool('trials').learner(learn.images, {**small, 'averages':(.02,.1)}).more_averages
    again.load_state_dict(learn.more_averages.state_dict())
    assert torch.equal(parameters_to_vector(again.networks[.1].parameters()), weights[2])

# --- command lines of experiments

experiments = ('ablations','diverge','escalation','finetune','growing','judges','losses','preset_cost','search','time_to_quality','tricks','variety')

def test_a_command_line_reaches_the_main_of_its_script(tool, monkeypatch, capsys):
    arguments,got = tool('trials').arguments,[]
    def main(path, once, quick, runs, only):
        got.append((path.as_posix(), once, quick, runs.as_posix(), only))
        return path.stem!='missing'
    def ended(line, main=main):
        monkeypatch.setattr('sys.argv', ['x', *line.split()])
        with pytest.raises(SystemExit) as e: arguments(main, 'kept/a.json')
        return e.value.code
    assert ended('')==0 and got.pop()==('kept/a.json', False, False, 'runs/test_tools', None)
    assert ended('--next missing.json')==3 and got.pop()==('missing.json', True, False, 'runs/test_tools', None)
    assert ended('--quick --only fade')==0 and got.pop()==('runs/test_tools-quick.json', False, True, 'runs/test_tools/quick', 'fade')
    assert ended('--runs r b.json --quick')==0 and got.pop()==('b.json', False, True, 'r/quick', None)
    assert ended('--nxt')==ended('--quick', lambda path: got.append(path))==2 and not got # not taken for nothing
    said = capsys.readouterr().err
    assert '--nxt' in said and '--quick' in said
    assert ended('', lambda path: got.append(str(path)))==0 and got.pop()
    assert ended('', lambda path, runs='elsewhere': got.append(runs))==0 and got==[Path('elsewhere')]

@pytest.mark.parametrize('name', experiments)
def test_an_experiment_takes_the_options_that_its_first_lines_say(name):
    text = (tools/'experiments'/f'{name}.py').read_text(encoding='utf-8')
    tree = ast.parse(text)
    said,main = ast.get_docstring(tree),next(o for o in tree.body if isinstance(o, ast.FunctionDef) and o.name=='main')
    usage = said[said.index('usage: '):].split('\n\n')[0]
    flags = {dict(once='next').get(a.arg, a.arg) for a in main.args.args}-{'path'}
    assert set(re.findall(r'--(\w+)', usage))==flags and usage.startswith(f'usage: {name}.py') and usage.endswith('[FILE]')
    assert f"if __name__=='__main__': arguments(main, 'nbs/assets/" in text and 'sys.argv' not in text
    if 'next' in flags: assert re.search(r'--next makes one (run|row) and ends \(3: some are left\)', ' '.join(said.split())) and 'make_rows(' in text

# --- the step beside its peers

def test_a_loop_of_someone_else_goes_a_step_at_a_time(tool):
    peers,done,inside = tool('peers'),[],[]
    class Peer:
        def train(self, draw):
            try:
                while True:
                    batch = draw(4, 2)
                    done.append((batch, bool(inside)))
                    if batch=='bad': raise ValueError('no such batch')
            except peers.Enough: done.append('closed')
    class Around:
        def __enter__(self): inside.append(1)
        def __exit__(self, *args): inside.clear()
    turns = peers.Turns(Peer(), 'a')
    assert done==[]
    turns.step()
    turns.step(Around())
    turns.step()
    assert done==[('a', False), ('a', True), ('a', False)] and not inside
    turns.real = 'bad'
    with pytest.raises(ValueError, match='no such batch'): turns.step()
    other = peers.Turns(Peer(), 'a')
    other.close()
    for _ in range(100):
        if done[-1]=='closed': break
        threading.Event().wait(.05)
    assert done[-1]=='closed'

def test_rounds_are_in_turns_and_ratios_are_of_one_round(tool):
    bench,order = tool('bench'),[]
    times = bench.rounds({k: lambda k=k: order.append(k) for k in 'ab'}, 0, least=2)
    assert order==[*'ab', *'ab', *'ba'] and {k: len(v) for k,v in times.items()}==dict(a=2, b=2)
    assert bench.ratio(dict(progrow=[1., 2., 4.], slow=[9., 9., 9.], fast=[2., 4., 12.]), 'progrow', ['slow','fast'])==2

def test_a_row_of_the_benchmark_counts_what_the_step_does(tool):
    from progrow.cost import step_cost
    from progrow.losses import WGANGP
    from progrow.networks import Discriminator, Generator
    bench = tool('bench')
    row = bench.cell('reduced', 4, 'stable', 4, 0, with_peers=False)
    nets = Generator(4, latent_dim=128, fmap_base=1024, fmap_max=128),Discriminator(4, fmap_base=1024, fmap_max=128)
    assert row['gflop_per_image']['progrow']==pytest.approx(step_cost(*nets, WGANGP(), 4, 4).flops/4e9, abs=1e-3)
    assert set(row['ms_per_image'])=={'progrow','plain'} and 'ratio' not in row and row['rounds']==3

def test_a_profile_names_the_dearest_operations(tool):
    row = tool('bench').profiled('step', 'reduced', 4, 4)
    for side in ('progrow','plain'):
        assert row[side]['operations']>500 and 'convolution_backward' in row[side]['shares'] and .5<sum(row[side]['shares'].values())<=1

def test_quick_says_how_far_it_is_from_what_was_committed(tool, capsys):
    bench = tool('bench')
    def row(r, ratio): return dict(network='ProGAN', widths='reduced', resolution=r, phase='stable', ratio=dict(progrow=ratio))
    bench.compare(dict(step=[row(4, 1.), row(8, 2.)], style=[]), dict(step=[row(4, 1.1), row(8, 1.)], style=[]))
    out = capsys.readouterr().out
    assert 'ProGAN reduced 4 stable ratio +10%' in out and '1 of 2 within 15%' in out

def test_the_page_on_speed_says_what_the_file_says():
    made,text = kept_in('speed/bench.json'),prose('90_speed')
    steps = {(o['widths'], o['resolution'], o['phase']): o for o in made['step']}
    def faster(o, side): return min(v for k,v in o['ms_per_image'].items() if k not in ('progrow','plain'))/o['ms_per_image'][side]
    def span(side, *widths):
        found = [faster(o, side) for o in made['step'] if o['widths'] in widths]
        return f'{min(found):.2f}',f'{max(found):.2f}'
    said = ['is from {} to {} times as fast as the fastest peer, and with'.format(*span('progrow', 'reduced')),
            'official widths from {} to {} times; the plain step from {} to {} times'.format(*span('progrow', 'official'), *span('plain', 'reduced', 'official'))]
    for w,words in (('reduced','{:.2f} times the plain step with widths 1024/128'), ('official','{:.2f} times with official ones')):
        ms = steps[w, 4, 'stable']['ms_per_image']
        said.append(words.format(ms['plain']/ms['progrow']))
    wall,rates = max(o['machine']['3x3 convolution'] for o in made['step']),{k: o['gflop_per_second'] for k,o in steps.items()}
    said.append('{:.0%} of it at 4x4, {:.0%} at 16x16 and {:.0%} at 128x128'.format(*(rates['reduced', r, 'stable']['progrow']/wall for r in (4,16,128))))
    said.append('{progrow:.0f} GFLOP per second for the whole step in place of {plain:.0f}'.format(**rates['official', 16, 'stable']))
    profile = {(o['what'], o['widths'], o['resolution'], o['batch']): o for o in made['profile']}
    def share(key, side, *names): return sum(profile[key][side]['shares'].get(k, 0) for k in names)
    convolutions,kernels = ('mkldnn_convolution','convolution_backward','_convolution'),('mm','copy_','flip')
    wide,single,large,small = ('step','official',16,4),('sampling','official',32,1),('step','reduced',128,4),('step','reduced',4,16)
    said += [f"that is {share(wide, 'progrow', *kernels):.0%} of the time", f"take {share(wide, 'progrow', *convolutions):.0%} of it",
             f"{share(single, 'progrow', *kernels):.0%} of the time goes into making kernels",
             f"spends {share(single, 'plain', *kernels):.0%} there, and {share(single, 'plain', 'mul'):.0%} on scaling",
             f"{share(small, 'plain', 'var'):.0%} of its time", f"{profile[small]['progrow']['operations']} calls",
             f"about {rates['reduced', 128, 'stable']['progrow']/share(large, 'progrow', *convolutions):.0f} GFLOP"]
    loop = {o['resolution']: o['callbacks'] for o in made['loop']}
    said.append(f'{loop[4]:.0%} of a step at 4x4, {loop[8]:.0%} at 8x8 and about {loop[16]:.0%} from')
    for o in said: assert o in text, o
    threads = {o['resolution']: o['images_per_second'] for o in made['threads']}
    assert all(threads[4]['2'][k]<threads[4]['1'][k] for k in threads[4]['1']) # every program is slower
    assert f"is worth {threads[16]['2']['progrow']/threads[16]['1']['progrow']:.1f} times for progrow" in text

# --- time to a good picture

def test_the_race_would_be_run_with_the_settings_of_the_kept_rows(tool, results):
    race,made = tool('time_to_quality'),kept_in('speed/time_to_quality.json')
    assert [o['asked'] for o in made['rows']]==[dict(side=k, seed=s) for s in race.seeds for k in race.sides]
    assert made['settings']==results.plain(race.told(race.budget, race.n, race.seeds))
    assert all(o['cpu_seconds']<=1.01*race.budget for o in made['rows'])

def test_the_page_on_speed_says_when_ours_passes_the_peers():
    rows,text = kept_in('speed/time_to_quality.json')['rows'],prose('90_speed')
    def mean(side, what): return [statistics.mean(o) for o in zip(*([p[what] for p in r['curve'][:8]] for r in rows if r['asked']['side']==side))]
    def passed(peer, what): return next(i+1 for i in range(8) if max(mean('progrow', what)[i:])<=mean(f'{peer}, our settings', what)[-1])
    assert [passed(p, k) for p in ('pro-gan-pth','gan-lab') for k in ('SWD 32','SWD mean')]==[4, 6, 2, 4]
    for said in ('passed after half the time at the finest level, and after three quarters', "gan-lab's after a quarter and after half"): assert said in text

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

def test_sheets_of_a_pdf_are_counted(tool):
    assert tool('shots').sheets_of(b'<</Type /Pages/Count 2>> <</Type /Page\n>> <</Type/Page/Parent>>')==2
