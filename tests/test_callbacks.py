"Callbacks: nothing that a run has learned is lost, whatever ends it."
import json, os, signal, subprocess, sys, textwrap, threading, time, warnings
from types import SimpleNamespace
import numpy as np, pytest, torch
from torch import nn
from fastai.callback.core import Callback, CancelEpochException, CancelFitException, CancelTrainException
from progrow.callbacks import AverageGradients, GrowthBar, History, Log, SampleStrip, log_columns, read_log, tracker, seconds_left
from progrow.checkpoint import load_generator, load_tensors, save_checkpoint, save_tensors
from progrow.data import ImagePyramid, pyramid_levels
from progrow.guards import Checkpoints, Guard
from progrow.processes import Processes, alone, processes
from progrow.schedule import GrowthSchedule
from progrow.train import progressive_learner
from runs import fit

short = GrowthSchedule(8, stabilize_kimg=.096, fade_kimg=.064, batch_size=16) # 16 steps: 6 at 4x4, 4 of fade, 6 at 8x8
images = ImagePyramid(pyramid_levels(np.random.default_rng(0).integers(0, 256, (64,1,8,8), dtype=np.uint8)))

def tiny(*cbs, two=False):
    "A small run; `two`: two steps per tick instead of one"
    learn = progressive_learner(images, schedule=short, fmap_base=32, fmap_max=8, latent_dim=6, device='cpu', cbs=list(cbs))
    learn.save_checkpoint = lambda folder, keep=3: save_checkpoint(folder, learn.images_seen, {'model':{k:v for k,v in learn.model.state_dict().items() if isinstance(v, torch.Tensor)}}, keep)
    if two: learn.ticks_left = lambda: [(n, n+32) for n in range(0, 256, 32) if n+32>learn.images_seen]
    return learn

def at(n, f, event='before_batch'):
    "Call `f` at the step that begins with `n` images"
    class At(Callback):
        order = 30
    setattr(At, event, lambda self: f() if self.images_seen==n else None)
    return At()

def names(folder): return sorted(p.name for p in folder.iterdir())
def boom(): raise RuntimeError('a crash in hour nine')
def press(n=signal.SIGINT): signal.raise_signal(n)

@pytest.fixture(autouse=True)
def handlers():
    "Every test must leave the signals as it found them"
    before = {n:signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield before
    after = {n:signal.getsignal(n) for n in before}
    for n,h in before.items(): signal.signal(n, h)
    assert after==before

# --- when they are written

def test_a_checkpoint_after_every_step_and_the_newest_three_stay(tmp_path):
    learn = fit(tiny(Checkpoints(tmp_path, minutes=0)))
    assert names(tmp_path)==[f'checkpoint-{n:09d}.pt' for n in (224,240,256)]
    assert learn.checkpoints.last==tmp_path/'checkpoint-000000256.pt'

def test_a_short_run_is_saved_once_at_its_end(tmp_path):
    fit(tiny(Checkpoints(tmp_path)))
    assert names(tmp_path)==['checkpoint-000000256.pt']

def test_minutes_count_from_the_end_of_the_last_save(tmp_path, monkeypatch):
    now,saved = [0.],[]
    monkeypatch.setattr('progrow.guards.monotonic', lambda: now[0])
    class Tick(Callback):
        def before_batch(self): now[0] += 60 # a step takes a minute
    learn = tiny(Checkpoints(tmp_path, minutes=5), Tick())
    def save(folder, keep): saved.append(learn.images_seen//16); now[0] += 240; return folder/'x' # and a save takes four
    learn.save_checkpoint = save
    fit(learn)
    assert saved==[5,10,15,16]

def test_every_tick(tmp_path):
    saved = []
    learn = tiny(Checkpoints(tmp_path, every_tick=True), two=True)
    learn.save_checkpoint = lambda folder, keep: saved.append(learn.images_seen)
    fit(learn)
    assert saved==list(range(32, 257, 32))

def test_the_last_step_of_a_tick_is_saved_with_what_belongs_to_the_tick(tmp_path):
    kept = []
    learn = tiny(Checkpoints(tmp_path/'c', minutes=0), Log(tmp_path/'log.jsonl'), two=True)
    learn.save_checkpoint = lambda folder, keep: kept.append((learn.images_seen, len(learn.history.state_dict()['images']), list(learn.sample_strip.rows), len(list(tmp_path.glob('log.jsonl')) and read_log(tmp_path))))
    fit(learn)
    assert kept==[(n, n//16, [r for r,t in ((4,32),(8,192)) if n>=t], n//32) for n in range(16, 257, 16)]

def test_not_at_the_end(tmp_path):
    learn = tiny(Checkpoints(tmp_path, at_end=False))
    with pytest.raises(KeyboardInterrupt): fit(learn, cbs=at(64, press))
    assert names(tmp_path)==['checkpoint-000000080.pt'] # stopped, so saved
    fit(learn)
    assert learn.images_seen==256 and names(tmp_path)==['checkpoint-000000080.pt']

def test_a_second_fit_saves_again_and_a_stretch_without_a_step_does_not(tmp_path):
    saved = []
    learn = tiny(Checkpoints(tmp_path))
    learn.save_checkpoint = lambda folder, keep: saved.append(learn.images_seen)
    fit(learn, 2); fit(learn, 3)
    assert saved==[32,80]

def test_no_checkpoint_while_steps_fail(tmp_path):
    learn = tiny(Checkpoints(tmp_path, minutes=0))
    class Fail(Callback):
        order = 60
        def after_batch(self): self.learn.skipped_in_a_row = int(48<self.images_seen<=96)
    saved = []
    learn.save_checkpoint = lambda folder, keep: saved.append(learn.images_seen)
    fit(learn, cbs=Fail())
    assert [n for n in range(16, 257, 16) if n not in saved]==[64,80,96]

def test_only_the_first_process_writes(tmp_path):
    class Second(Processes):
        "Not the first one, and without anybody to talk to"
        first = property(lambda self: False)
    learn = tiny(Checkpoints(tmp_path/'c', minutes=0), Log(tmp_path/'log.jsonl'))
    learn.players.processes = Second()
    fit(learn)
    assert not names(tmp_path) and learn.images_seen==256

def test_a_failed_save_warns_and_training_goes_on(tmp_path):
    learn = tiny(Checkpoints(tmp_path, minutes=0))
    save = learn.save_checkpoint
    def full(folder, keep):
        if learn.images_seen in (64,80): raise OSError(28, 'no space left on device')
        return save(folder, keep)
    learn.save_checkpoint = full
    with pytest.warns(UserWarning, match=r'no checkpoint at 0.1 kimg: .*no space left.*the newest checkpoint is .*checkpoint-000000048.pt') as w: fit(learn)
    assert len([o for o in w if 'no checkpoint' in str(o.message)])==2 and learn.images_seen==256 and '256' in str(learn.checkpoints.last)

def test_the_last_save_must_succeed(tmp_path):
    learn = tiny(Checkpoints(tmp_path))
    def full(folder, keep): raise OSError(28, 'no space left on device')
    learn.save_checkpoint = full
    with pytest.raises(OSError, match='no space left'): fit(learn)

@pytest.mark.parametrize('kw,message', [(dict(minutes=-1), r'minutes must be 0 .* got -1'), (dict(keep=0), 'keep must be 1 or more, got 0')])
def test_arguments(kw, message):
    with pytest.raises(ValueError, match=message): Checkpoints('x', **kw)

# --- signals

@pytest.mark.parametrize('event', ['before_batch','before_step','before_backward','after_step','after_batch','before_train','after_train','before_epoch','after_epoch'])
@pytest.mark.parametrize('number,end', [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)])
def test_a_signal_lets_the_step_finish_and_saves(tmp_path, capsys, number, end, event):
    learn,once = tiny(Checkpoints(tmp_path), two=True),[]
    def first():
        if not once: once.append(1); press(number)
    with pytest.raises(end) as e: fit(learn, cbs=at(64, first, event))
    assert learn.images_seen%16==0 and names(tmp_path)==[f'checkpoint-{learn.images_seen:09d}.pt'] and learn.images_seen in (64,80)
    said = capsys.readouterr().out
    assert f'Stopped after {learn.images_seen} images, and saved: {learn.checkpoints.last}' in said and 'make the same call again' in said
    if end is SystemExit: assert e.value.code=={signal.SIGTERM:143, signal.SIGHUP:129}[number]

def test_all_callbacks_hear_that_a_stopped_fit_is_over(tmp_path):
    heard = []
    class Hear(Callback):
        def after_cancel_fit(self): heard.append('after_cancel_fit')
        def after_fit(self): heard.append('after_fit')
    with pytest.raises(KeyboardInterrupt): fit(tiny(Checkpoints(tmp_path), Hear()), cbs=at(64, press))
    assert heard==['after_cancel_fit','after_fit']

def test_a_second_ctrl_c_stops_at_once(tmp_path):
    learn = tiny(Checkpoints(tmp_path))
    with pytest.raises(KeyboardInterrupt): fit(learn, cbs=at(64, lambda: (press(), press())))
    assert learn.images_seen==64 and not names(tmp_path)

def test_a_second_sigterm_waits_for_the_save(tmp_path):
    with pytest.raises(SystemExit): fit(tiny(Checkpoints(tmp_path)), cbs=at(64, lambda: (press(signal.SIGTERM), press(signal.SIGTERM))))
    assert names(tmp_path)==['checkpoint-000000080.pt']

def test_stopped_and_continued_is_as_if_never_stopped(tmp_path):
    learn = tiny(Checkpoints(tmp_path))
    with pytest.raises(KeyboardInterrupt): fit(learn, cbs=at(64, press))
    fit(learn)
    whole = fit(tiny())
    assert learn.history.rows==whole.history.rows
    for a,b in zip(learn.model.parameters(), whole.model.parameters()): assert torch.equal(a, b)

def test_a_failing_last_save_is_told_even_after_ctrl_c(tmp_path):
    learn = tiny(Checkpoints(tmp_path))
    def full(folder, keep): raise OSError(28, 'no space left on device')
    learn.save_checkpoint = full
    with pytest.raises(OSError): fit(learn, cbs=at(64, press))

def test_cancel_fit_is_a_normal_end(tmp_path, handlers):
    def cancel(): raise CancelFitException
    fit(tiny(Checkpoints(tmp_path)), cbs=at(64, cancel))
    assert names(tmp_path)==['checkpoint-000000064.pt'] and signal.getsignal(signal.SIGINT)==handlers[signal.SIGINT]

@pytest.mark.parametrize('cancel', [CancelTrainException, CancelEpochException])
def test_a_cancelled_tick_is_no_end(tmp_path, cancel):
    learn = tiny(Checkpoints(tmp_path), two=True)
    def f(): raise cancel
    fit(learn, cbs=at(64, f))
    assert f'checkpoint-{learn.images_seen:09d}.pt' in names(tmp_path)

# An error ends fit without after_fit. The handlers are put back all the same.

@pytest.mark.parametrize('given', ['to the learner','to fit'])
def test_after_an_error_ctrl_c_is_a_plain_ctrl_c(tmp_path, handlers, given):
    cb = Checkpoints(tmp_path)
    learn = tiny(cb) if given=='to the learner' else tiny()
    with pytest.raises(RuntimeError, match='hour nine'): fit(learn, cbs=[at(64, boom)]+([] if given=='to the learner' else [cb]))
    assert {n:signal.getsignal(n) for n in handlers}==handlers
    with pytest.raises(KeyboardInterrupt): press()
    assert not names(tmp_path) and not learn.asked.number

def test_after_an_error_sigterm_goes_to_the_old_handler(tmp_path):
    heard = []
    old = signal.signal(signal.SIGTERM, lambda *a: heard.append(a[0]))
    try:
        with pytest.raises(RuntimeError): fit(tiny(Checkpoints(tmp_path)), cbs=at(64, boom, 'after_step'))
        press(signal.SIGTERM)
        assert heard==[signal.SIGTERM]
    finally: signal.signal(signal.SIGTERM, old)

def test_after_an_error_a_second_fit_goes_well(tmp_path):
    learn = tiny(Checkpoints(tmp_path))
    with pytest.raises(RuntimeError): fit(learn, cbs=at(64, boom))
    fit(learn)
    assert learn.images_seen==256 and names(tmp_path)==['checkpoint-000000256.pt']

def test_an_ignored_signal_stays_ignored(tmp_path):
    old = signal.signal(signal.SIGINT, signal.SIG_IGN) # nohup
    try: assert fit(tiny(Checkpoints(tmp_path)), cbs=at(64, press)).images_seen==256
    finally: signal.signal(signal.SIGINT, old)

def test_a_handler_that_came_later_is_left_alone(tmp_path):
    def mine(*a): pass
    old = signal.getsignal(signal.SIGINT)
    try:
        fit(tiny(Checkpoints(tmp_path)), cbs=at(64, lambda: signal.signal(signal.SIGINT, mine)))
        assert signal.getsignal(signal.SIGINT) is mine
    finally: signal.signal(signal.SIGINT, old)

def test_fit_in_a_thread(tmp_path):
    learn,seen = tiny(Checkpoints(tmp_path, minutes=0)),[]
    def run():
        try: fit(learn); seen.append(learn.images_seen)
        except BaseException as e: seen.append(e)
    t = threading.Thread(target=run); t.start(); t.join()
    assert seen==[256] and len(names(tmp_path))==3

def python(code, **kw):
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'PYTHONPATH':os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)

@pytest.mark.parametrize('number,code', [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_real_signal_to_a_real_process(tmp_path, number, code):
    p = python(f'''
        import time
        from test_callbacks import *
        class Slow(Callback):
            def before_batch(self): print('step', flush=True); time.sleep(.2)
        fit(tiny(Checkpoints({str(tmp_path)!r}), Slow()))''')
    for _ in range(3): assert p.stdout.readline()=='step\n', p.stderr.read()
    p.send_signal(number)
    out,err = p.communicate(timeout=120)
    assert 'Stopped after' in out and len(names(tmp_path))==1, err
    assert p.returncode in (code, -number), err

def test_a_forked_process_dies_as_before(tmp_path):
    "Workers that read images inherit the handler, but must obey SIGTERM"
    def fork():
        if (pid := os.fork())==0:
            signal.alarm(20); os.kill(os.getpid(), signal.SIGTERM); os._exit(0)
        assert os.waitpid(pid, 0)[1]==signal.SIGTERM
    assert fit(tiny(Checkpoints(tmp_path)), cbs=at(64, fork)).images_seen==256

# --- many processes

def test_two_processes_stop_at_the_same_batch_and_average_their_gradients(tmp_path):
    code = f'''
        import sys
        from test_callbacks import *
        import torch.distributed as dist
        rank = int(sys.argv[1])
        dist.init_process_group('gloo', init_method='file://{tmp_path}/meet', rank=rank, world_size=2)
        learn = tiny(Checkpoints('{tmp_path}/c'))
        assert learn.processes==Processes(rank, 2)
        torch.manual_seed(rank)
        with torch.no_grad(): # other weights, other images
            for p in learn.model.parameters(): p.add_(torch.randn_like(p)*rank/10)
        batch = learn.images.batch
        learn.mirror,learn.images = bool(rank),ImagePyramid(pyramid_levels(np.random.default_rng(rank).integers(0, 256, (64,1,8,8), dtype=np.uint8)))
        means = []
        class Watch(Callback):
            order = 9
            def before_step(self): means.append(torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None]))
        cbs = [AverageGradients(), Watch()] + ([at(64, lambda: press(signal.SIGTERM))] if rank else [])
        try: fit(learn, cbs=cbs)
        except SystemExit as e: print('exit', e.code)
        print('images', learn.images_seen)
        torch.save([[p.detach() for p in learn.model.parameters()], means], f'{tmp_path}/{{rank}}.pt')

        # the mean of two halves is the gradient of the whole batch; buffers begin alike too
        torch.manual_seed(rank)
        model = nn.ModuleList([nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), nn.Linear(3, 1)])
        model[0][1].running_mean += rank
        cb = AverageGradients(); cb.learn = SimpleNamespace(model=model, processes=processes(), step_loss=torch.tensor(1.+rank))
        cb('before_fit')
        model.eval()
        x = torch.arange(12.).view(4, 3)
        model[0](x[2*rank:2*rank+2]).square().mean().backward()
        cb('before_step')
        mine = [p.grad for p in model[0].parameters()]
        assert model[1].weight.grad is None # whose turn it is not
        model.zero_grad(); model[0](x).square().mean().backward()
        for a,p in zip(mine, model[0].parameters()): torch.testing.assert_close(a, p.grad)
        assert (model[0][1].running_mean==0).all() and cb.learn.step_loss==1.5
        dist.destroy_process_group()'''
    both = [python(code.replace('sys.argv[1]', str(r))) for r in range(2)]
    outs = [p.communicate(timeout=240) for p in both]
    for p,(out,err) in zip(both, outs): assert p.returncode==0 and 'exit 143\nimages 80' in out, err[-3000:]
    assert 'Stopped after 80 images' in outs[0][0] and 'Stopped' not in outs[1][0]
    assert names(tmp_path/'c')==['checkpoint-000000080.pt']
    (a,ga),(b,gb) = (torch.load(tmp_path/f'{r}.pt') for r in range(2))
    assert len(ga)==10 and all(torch.equal(x, y) for x,y in zip(ga+a, gb+b))

def test_alone_the_average_does_nothing():
    model = nn.Linear(2, 1); model(torch.ones(1, 2)).backward()
    cb = AverageGradients(); cb.learn = SimpleNamespace(model=model, processes=alone, step_loss=torch.tensor(1.))
    before = model.weight.grad.clone()
    cb('before_fit'); cb('before_step')
    assert torch.equal(model.weight.grad, before)

# --- guard

def guarded(patience, **kw):
    cb = Guard(patience); cb.learn = SimpleNamespace(**{**dict(skipped=0, skipped_in_a_row=0, processes=alone, cbs=[], images_seen=1500, state=short(100)), **kw})
    return cb

def test_guard_counts_and_stops(capsys):
    cb = guarded(3)
    for n in (0,1,2): cb.learn.skipped_in_a_row = n; cb('after_batch')
    cb.learn.skipped_in_a_row = 3
    with pytest.raises(FloatingPointError, match=r'3 steps in a row .*1.5 kimg \(8x8, fade\).*There is no checkpoint\. Try a smaller learning rate'): cb('after_batch')
    cb('after_fit'); assert not capsys.readouterr().out
    cb.learn.skipped = 7
    cb('after_fit'); assert '7 steps were skipped' in capsys.readouterr().out
    with pytest.raises(ValueError, match='patience must be 1 or more, got 0'): Guard(0)

def test_guard_names_the_last_good_checkpoint(tmp_path):
    learn = tiny(Checkpoints(tmp_path, minutes=0), Guard(2))
    class Fail(Callback):
        order = 60
        def after_batch(self): self.learn.skipped_in_a_row = max(0, (self.images_seen-64)//16)
    with pytest.raises(FloatingPointError, match='The last good checkpoint is .*checkpoint-000000064.pt'): fit(learn, cbs=Fail())
    with pytest.raises(KeyboardInterrupt): press() # a plain one again

def test_the_checkpoint_of_an_earlier_process_counts(tmp_path):
    save_checkpoint(tmp_path, 48, {})
    learn = tiny(Checkpoints(tmp_path), Guard(1))
    class Fail(Callback):
        order = 60
        def after_batch(self): self.learn.skipped_in_a_row = 1
    with pytest.raises(FloatingPointError, match='checkpoint-000000048.pt'): fit(learn, cbs=Fail())
    with pytest.raises(KeyboardInterrupt): press()

@pytest.mark.parametrize('show', ['bar', 'lines'])
def test_the_line_shows_where_the_run_stands(show, capsys):
    bar = GrowthBar(show)
    bar.learn = SimpleNamespace(schedule=short, images_seen=100, state=short(100), skipped=2, per_image={4:.1, 8:.1}, history=SimpleNamespace(mean=lambda: (-1.5, .25)))
    bar.before_fit(); bar('after_epoch')
    s,(out,err) = short(100),capsys.readouterr()
    assert not out and f'{s.resolution}x{s.resolution} {s.phase}' in err and ', 2 steps skipped' in err and ' 10 images/s, 0:00 so far, ' in err and ' left' in err
    assert ('0.1 of 0.3 kimg' in err and 'critic -1.500, generator 0.250' in err)==(show=='lines')
    bar.close()

def test_time_left_learns_from_the_steps_that_are_done():
    learn = SimpleNamespace(schedule=short, images_seen=0, state=short(0), per_image=(timed := {4:.01, 8:.02}))
    bar = GrowthBar('nothing')
    bar.learn = learn; bar.before_fit()
    batch = short(0).batch_size
    def after(*steps):
        for s in steps: bar.correct(batch*s)
        return [round(learn.per_image[r], 6) for r in timed]
    assert after(9.)==[.01, .02] # the first step warms up
    assert after(.005, .005)==[.005, .01] # it was slow when it was timed
    assert after(.035)==[.015, .025] # something besides the networks
    learn.state = short(130); assert learn.state.resolution==8
    assert after(9., .03)==[.015, .03]
    bar.close()

def test_a_busy_hour_is_forgotten():
    learn = SimpleNamespace(schedule=short, images_seen=0, state=short(0), per_image={4:.01, 8:.02})
    bar = GrowthBar('nothing')
    bar.learn = learn; bar.before_fit()
    for s in [9.]+[.1]*1000+[.01]*400: bar.correct(short(0).batch_size*s)
    bar.close()
    assert .01<learn.per_image[4]<.02 # the mean of all would be .074

def test_no_time_is_left_to_be_negative_where_the_machine_was_busy_while_a_small_size_was_timed():
    learn = SimpleNamespace(schedule=short, images_seen=0, state=short(0), per_image={4:.5, 8:.02})
    bar = GrowthBar('nothing')
    bar.learn = learn; bar.before_fit()
    for s in (9., .01): bar.correct(short(0).batch_size*s)
    bar.close()
    assert 0<learn.per_image[8]<.02 and seconds_left(short, 0, learn.per_image)>0

# --- log

def rows(path): return [json.loads(l) for l in path.read_text().splitlines()]

def test_a_row_per_tick(tmp_path):
    learn = fit(tiny(Log(tmp_path/'run'/'log.jsonl'), two=True))
    d = read_log(tmp_path/'run')
    assert list(d.columns)==log_columns and len(d)==8
    assert d.kimg.tolist()==[n/1000 for n in range(32, 257, 32)] and d.resolution.tolist()==[4]*3+[8]*5
    assert d.phase.tolist()==['stabilize']*3+['fade']*2+['stabilize']*3 and (d.alpha.iloc[-3:]==1).all()
    assert (d.seconds>0).all() and (d.images_per_second>0).all() and (d.peak_memory>50).all() and (d.skipped==0).all()
    for i,(c,g) in enumerate(zip(d.critic_loss, d.generator_loss)):
        two = learn.history.rows[2*i:2*i+2]
        assert c==pytest.approx((two[0][2]+two[1][2])/2, abs=1e-5) and g==pytest.approx((two[0][3]+two[1][3])/2, abs=1e-5)

def test_rows_that_were_not_saved_are_cut(tmp_path):
    path = tmp_path/'log.jsonl'
    fit(tiny(Log(path), two=True), 5)
    first = rows(path)
    with open(path, 'a') as f: f.write('{"kimg": 0.19, "resol') # killed while writing
    assert len(read_log(path))==5
    learn = tiny(Log(path), two=True)
    learn.history.rows,learn.model.images_seen = [(n,4,0.,0.) for n in range(16, 97, 16)],96 # three ticks were saved
    fit(learn, 1)
    again = rows(path)
    assert again[:3]==first[:3] and [r['kimg'] for r in again]==[.032,.064,.096,.128]
    assert read_log(tmp_path).kimg.is_monotonic_increasing

def test_a_row_speaks_of_all_steps_since_the_last(tmp_path):
    path = tmp_path/'log.jsonl'
    learn = tiny(Log(path), two=True)
    with pytest.raises(RuntimeError): fit(learn, cbs=at(48, boom))
    assert len(rows(path))==1 and learn.images_seen==48
    learn = fit(learn, 1) # from the middle of a tick
    assert [r['kimg'] for r in rows(path)]==[.032,.064]
    assert rows(path)[1]['critic_loss']==pytest.approx(sum(r[2] for r in learn.history.rows[2:4])/2, abs=1e-5)

def test_losses_that_are_not_numbers(tmp_path):
    log = Log(tmp_path/'log.jsonl')
    log.learn = SimpleNamespace(processes=alone, images_seen=32, state=short(0), skipped=2, dls=SimpleNamespace(device=torch.device('cpu')),
        history=History())
    log.learn.history.rows = [(16,4,float('nan'),float('inf')),(32,4,2.,float('-inf'))]
    log('before_fit'); log('before_train'); log.first = 0
    log('after_epoch')
    r, = rows(tmp_path/'log.jsonl')
    assert r['critic_loss']==2 and r['generator_loss'] is None and r['skipped']==2

def test_a_log_that_cannot_be_written_warns(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.warns(UserWarning, match='no row in .*Training goes on'): fit(tiny(Log(tmp_path/'file'/'log.jsonl')))

def test_what_is_no_log(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no log'): read_log(tmp_path)
    (tmp_path/'log.jsonl').write_text('{"kimg": 1}\nhello\n{"kimg": 2}\n')
    with pytest.raises(ValueError, match='line 2 of .*log.jsonl is not a row'): read_log(tmp_path)
    (tmp_path/'log.jsonl').write_text('')
    assert len(read_log(tmp_path))==0

@pytest.mark.skipif(os.name!='posix', reason='needs a limit on the size of files')
def test_a_row_that_a_full_disk_cuts_off_is_taken_back_and_the_run_goes_on(tmp_path):
    import resource
    path,limits = tmp_path/'log.jsonl',resource.getrlimit(resource.RLIMIT_FSIZE)
    def full(on): resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size+20 if on else limits[0], limits[1]))
    with pytest.warns(UserWarning, match='no row in .*Training goes on'):
        fit(tiny(Log(path), two=True), cbs=[at(96, lambda: full(True)), at(160, lambda: full(False))])
    assert [r['kimg'] for r in rows(path)]==[.032,.064,.096,.192,.224,.256]
    learn = tiny(Log(path), two=True)
    learn.history.rows,learn.model.images_seen = [(n,4,0.,0.) for n in range(16, 225, 16)],224
    fit(learn, 1)
    assert [r['kimg'] for r in rows(path)]==[.032,.064,.096,.192,.224,.256]

bad = ['{"kimg": 0.03{"kimg": 0.064}', '{"kimg": NaN}', '{"kimg": 1e999}', '{"kimg": [1]}', '{"kimg": 0.06, "alpha": {"a": 1}}', '['*2000, '{"kimg": 1'+'0'*400+'}', '{"kimg": true}', '\xff']

@pytest.mark.parametrize('line', bad, ids=range(len(bad)))
def test_a_log_with_bad_rows_is_set_aside_and_its_good_rows_stay(tmp_path, line):
    path = tmp_path/'log.jsonl'
    path.write_bytes(b'{"kimg": 0.016}\n'+line.encode('latin1')+b'\n{"kimg": 0.032}\n')
    before = path.read_bytes()
    with pytest.raises(ValueError, match='line 2 of .*log.jsonl is not a row'): read_log(tmp_path)
    log = Log(path); log.learn = SimpleNamespace(processes=alone, images_seen=32)
    with pytest.warns(UserWarning, match='line 2 of .*set aside as log.jsonl.aside.*2 good rows'): log('before_fit')
    assert [r['kimg'] for r in log.rows]==read_log(tmp_path).kimg.tolist()==[.016,.032] and (tmp_path/'log.jsonl.aside').read_bytes()==before

def test_a_pipe_in_the_place_of_the_log_is_set_aside(tmp_path):
    os.mkfifo(tmp_path/'log.jsonl')
    log = Log(tmp_path/'log.jsonl'); log.learn = SimpleNamespace(processes=alone, images_seen=32)
    with pytest.warns(UserWarning, match='is no file'): log('before_fit')
    with pytest.raises(FileNotFoundError): read_log(tmp_path/'log.jsonl.aside')
    assert read_log(tmp_path).empty

# --- history and strip

def test_a_step_takes_no_python_objects():
    history = History(); history.rows = [(n, 4, 1., 2.) for n in range(5)]
    assert [type(o).__name__ for o in history.kept]==['array']*4 and history.rows[3]==(3, 4, 1., 2.)

def test_the_mean_of_a_tick_is_over_its_finite_losses():
    history = History(); history.rows,history.first = [(16,4,9.,9.), (32,4,1.,float('nan')), (48,4,3.,2.)],16
    assert history.mean()==(2.,2.) and history.mean(0)==(13/3,5.5) and history.mean(48)==(None,None)

def test_history_and_strip_come_back(tmp_path):
    learn = tiny(two=True)
    with pytest.raises(RuntimeError): fit(learn, cbs=at(176, boom)) # in the middle of a tick
    assert learn.history.new
    p = save_tensors(tmp_path/'x.pt', 'x', 1, history=learn.history.state_dict(), strip=learn.sample_strip.state_dict())
    f,history,strip = load_tensors(p, 'x', 1),History(),SampleStrip()
    history.load_state_dict(f['history']); strip.load_state_dict(f['strip'])
    assert history.rows==learn.history.rows and not history.new and [r[0] for r in history.rows]==list(range(16, 177, 16))
    assert list(strip.rows)==[4] and torch.equal(strip.rows[4], learn.sample_strip.rows[4])

def test_empty_history_and_strip():
    history,strip = History(),SampleStrip()
    history.load_state_dict(History().state_dict()); strip.load_state_dict(SampleStrip().state_dict())
    assert history.rows==[] and strip.rows=={}

# --- trackers

@pytest.mark.parametrize('name', ['tensorboard','wandb'])
def test_a_tracker_that_is_not_there(monkeypatch, tmp_path, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f'pip install {name}'): tracker(name, tmp_path)

def test_an_unknown_tracker(tmp_path):
    with pytest.raises(ValueError, match="there is no tracker 'mlflow': take 'tensorboard' or 'wandb'"): tracker('mlflow', tmp_path)

def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    acc = EventAccumulator(str(folder)); acc.Reload()
    return {k:[(e.step, e.value) for e in acc.Scalars(k)] for k in acc.Tags()['scalars']}

def test_tensorboard(tmp_path):
    pytest.importorskip('tensorboard')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = tiny(two=True)
        with pytest.raises(RuntimeError): fit(learn, cbs=[tracker('tensorboard', tmp_path), at(144, boom)]) # dies in tick 5
        learn = tiny(two=True)
        fit(learn, 3) # a checkpoint of 96 images
        fit(learn, cbs=tracker('tensorboard', tmp_path))
    got = scalars(tmp_path)
    assert [n for n,_ in got['train_loss']]==list(range(16, 257, 16)) # steps are images, none twice
    assert [n for n,_ in got['generator_loss']]==list(range(32, 257, 32))
    assert [v for _,v in got['resolution']]==[4]*3+[8]*5 and len(got['kimg'])==8
    assert 'lr_0' in got and 'phase' not in got

def test_wandb(tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb')
    for k,v in dict(WANDB_MODE='offline', WANDB_SILENT='true').items(): monkeypatch.setenv(k, v)
    logged = []
    cb = tracker('wandb', tmp_path)
    try:
        log = wandb.log
        monkeypatch.setattr(wandb, 'log', lambda d, **kw: (logged.append(d), log(d, **kw)))
        fit(tiny(two=True), cbs=cb)
    finally: wandb.finish()
    ticks = [d for d in logged if 'resolution' in d]
    assert [d['resolution'] for d in ticks]==[4]*3+[8]*5 and all(isinstance(v, float) for d in ticks for v in d.values())
    assert list((tmp_path/'wandb').glob('offline-run-*'))

# --- a run that diverges, and a disk that is full at the end

def test_a_run_that_diverges_stops_and_says_so():
    learn = progressive_learner(images, schedule=GrowthSchedule(8, stabilize_kimg=.48, fade_kimg=.064, batch_size=16, learning_rate=10.), fmap_base=32, fmap_max=8, latent_dim=6, device='cpu')
    with pytest.raises(FloatingPointError, match=r'the run has diverged: in all steps of this tick a loss was beyond 1e\+06 .*smaller learning rate'): fit(learn)

def test_one_large_loss_is_no_divergence_and_a_limit_can_be_chosen():
    learn = tiny(two=True)
    fit(learn, 2)
    learn.history.first,learn.history.rows = 0,[(16,4,1e30,1.), (32,4,2.,-1e30)]
    learn.guard.after_epoch()
    learn.history.rows = [(16,4,float('inf'),1.), (32,4,float('nan'),1.)] # steps that were left out
    learn.guard.after_epoch()
    learn.guard.limit,learn.history.rows = 1.5,[(16,4,1e30,1.), (32,4,2.,-1e30)]
    with pytest.raises(FloatingPointError, match='diverged'): learn.guard.after_epoch()

@pytest.mark.parametrize('stopped', [False, True])
def test_where_the_last_checkpoint_fails_the_generator_is_saved(tmp_path, stopped):
    learn = tiny(Checkpoints(tmp_path/'c'))
    def full(folder, keep): raise OSError(28, 'no space left on device')
    learn.save_checkpoint = full
    with pytest.raises(OSError, match='no space left.*The averaged generator is saved, as .*generator.pt'): fit(learn, cbs=at(64, press) if stopped else None)
    assert torch.equal(load_generator(tmp_path/'c'/'generator.pt')(torch.ones(2, 6), resolution=4), learn.model.averaged(torch.ones(2, 6), resolution=4))

@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_of_many_processes_a_second_signal_ends_it_if_it_comes_seconds_later(number):
    p = python(f'''
        import signal, progrow.guards
        now = [0.]; progrow.guards.monotonic = lambda: now[0]
        with progrow.guards.stop_signals(patient=True):
            for t in (1., 2.): now[0] = t; signal.raise_signal({int(number)}) # torchrun's
            print('still here', flush=True)
            now[0] = 5.; signal.raise_signal({int(number)})
            print('and here')''')
    assert p.communicate(timeout=60)[0]=='still here\n' and p.returncode==-number

def test_a_torn_row_is_cut_off_although_the_disk_is_still_full(tmp_path, monkeypatch):
    from progrow import callbacks
    log = tmp_path/'log.jsonl'
    log.write_text('{"kimg": 0.0}\n{"kim')
    def full(*args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(callbacks, 'atomic_write', full)
    learn = fit(tiny(callbacks.Log(log)))
    assert len(read_log(log))==1+len(learn.history.rows) or len(read_log(log))>1
