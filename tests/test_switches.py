"What may make a GPU faster: set for a run, put back after it, and a run that goes on to the same weights. No GPU is needed to see that."
import pytest, torch
from fastai.callback.core import Callback
from runs import fit, short, shorter, tiny, weights
from progrow.switches import Switches, _tf32_switches, follow_weights
from progrow.train import progressive_learner

def stand(): return [getattr(place, name) for place,name,_ in _tf32_switches(True)],torch.backends.cudnn.benchmark
def turned(net): return {p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in net.parameters() if p.ndim==4 and min(p.shape[1:])>1}

class Look(Callback):
    "What holds while a run trains"
    def after_batch(self): self.seen = stand(),turned(self.model),self.xb[0].is_contiguous(memory_format=torch.channels_last)

def test_switches_hold_while_a_run_trains_and_no_longer():
    before,all_on = stand(),Switches(tf32=True, benchmark=True, channels_last=True)
    learn = fit(tiny(schedule=shorter, switches=all_on, cbs=Look()), 2)
    (tf32,benchmark),layouts,images = learn.look.seen
    assert tf32==[value for *_,value in _tf32_switches(True)] and benchmark and layouts=={True} and images
    assert stand()==before and turned(learn.model)=={False}
    assert {s.is_contiguous() for o in learn.opt.opt.state.values() for s in o.values()}=={True}

def test_switches_are_put_back_after_an_error():
    class Break(Callback):
        def after_batch(self): raise RuntimeError('broken')
    before,learn = stand(),tiny(schedule=shorter, switches=Switches(True, True, True), cbs=Break())
    with pytest.raises(RuntimeError, match='broken'): fit(learn)
    assert stand()==before and turned(learn.model)=={False}

def test_nothing_is_touched_unless_asked():
    torch.backends.cudnn.benchmark = True
    try:
        learn = fit(tiny(schedule=shorter, cbs=Look()), 1)
        assert learn.look.seen[0]==stand() and learn.look.seen[1]=={False} and stand()[1]
    finally: torch.backends.cudnn.benchmark = False

def test_on_a_cpu_tf32_and_benchmark_change_no_bit():
    a,b = (weights(fit(tiny(schedule=shorter, switches=s))) for s in (Switches(), Switches(tf32=True, benchmark=True)))
    assert all(torch.equal(a[k], b[k]) for k in a)

def test_a_run_channels_last_goes_on_to_the_same_bits(tmp_path):
    def new(): return tiny(switches=Switches(channels_last=True))
    whole = weights(fit(new()))
    fit(new(), 9).save_checkpoint(tmp_path)
    again = weights(fit(new().resume(tmp_path)))
    assert all(torch.equal(whole[k], again[k]) for k in whole)

@pytest.mark.parametrize('then', (True,False))
def test_a_run_goes_on_in_the_other_layout(tmp_path, then):
    "Adam's numbers are those of each weight, however the file has them"
    class Midway(Callback):
        order = 95
        def after_batch(self):
            if self.images_seen==64: self.learn.save_checkpoint(tmp_path)
    learn = tiny(schedule=short, switches=Switches(channels_last=then), cbs=Midway())
    whole = weights(fit(learn, 5))
    other = tiny(schedule=short, switches=Switches(channels_last=not then)).resume(next(tmp_path.glob('*.pt')))
    assert other.images_seen==64
    assert {s.stride()==p.stride() for p,o in other.opt.opt.state.items() for s in o.values() if s.shape==p.shape}=={True}
    while other.images_seen<learn.images_seen: fit(other, 1)
    again = weights(other)
    for k in whole: torch.testing.assert_close(again[k], whole[k], atol=2e-3, rtol=1e-3)

def test_the_trainer_takes_switches():
    learn = progressive_learner('digits', resolution=8, fmap_max=8, latent_dim=8, switches=Switches(channels_last=True))
    assert learn.switches.channels_last

def test_a_step_waits_for_the_device_twice_once_for_each_players_check():
    "Whatever reads a number waits until the device has it: once a player's numbers are looked at, and nowhere else in a step"
    from torch.utils._python_dispatch import TorchDispatchMode
    class Waits(TorchDispatchMode):
        n = 0
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.n += func._overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal)
            return func(*args, **(kwargs or {}))
    class Count(Callback):
        order,counts = 1000,[]
        def before_batch(self): self.begun = waits.n
        def after_batch(self): self.counts.append(waits.n-self.begun)
    learn = tiny(schedule=shorter, cbs=Count())
    with Waits() as waits: fit(learn, 4)
    assert set(learn.count.counts)=={2} and len(learn.count.counts)==4
