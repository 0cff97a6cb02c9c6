"Files: whole or not there, whatever happens to the process, the disk or the bytes"
import errno, json, os, pickle, random, signal, subprocess, sys, time, warnings
from collections import OrderedDict
from pathlib import Path
import numpy as np, pytest, torch
from helpers import same
import progrow.checkpoint
from progrow.checkpoint import (atomic_write, checkpoints, folder_lock, load_checkpoint, load_generator, load_tensors, save_checkpoint, save_generator,
                                save_tensors)
from progrow.going_back import random_problem, random_states, set_random_states, settings_differ
from progrow.networks import Discriminator, Generator
from progrow.style import StyleGenerator

posix = pytest.mark.skipif(os.name!='posix', reason='needs the signals of POSIX')

def child(tmp_path, code):
    "What a process printed (as JSON) that ran `code` in `tmp_path`"
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'PYTHONPATH':os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH','')])}
    r = subprocess.run([sys.executable, '-c', 'import json, os, random, resource, signal, sys, time, torch\nfrom progrow.checkpoint import checkpoints, load_checkpoint, save_checkpoint, save_tensors\nfrom progrow.going_back import random_states, set_random_states\n'+code],
                       cwd=tmp_path, env=env, capture_output=True, text=True)
    assert r.returncode==0, r.stderr
    return json.loads(r.stdout)

# --- a process that dies

@posix
def test_killed_at_any_byte_of_a_save_the_old_file_is_whole(tmp_path):
    # SIGKILL from inside of the save after so many bytes; and the kernel's own end (SIGXFSZ, nobody listening) in PyTorch's writer
    ended = child(tmp_path, '''
class PowerCut:
    def __init__(self, file, left): self.file,self.left = file,left
    def write(self, b):
        self.file.write(b[:self.left]); self.left -= len(b)
        if self.left<=0: self.file.flush(); os.kill(os.getpid(), signal.SIGKILL)
        return len(b)
    def flush(self): self.file.flush()
def killed(k): save = torch.save; torch.save = lambda obj, path: save(obj, PowerCut(open(path, 'wb'), k))
def limited(k): signal.signal(signal.SIGXFSZ, signal.SIG_DFL); resource.setrlimit(resource.RLIMIT_CORE, (0,0)); resource.setrlimit(resource.RLIMIT_FSIZE, (k,k))
res = []
for how in (killed,limited):
    for k in (0, 1, 700, 20_000, 41_000):
        folder = f'{how.__name__}{k}'
        save_checkpoint(folder, 1, {'w':torch.full((10_000,), 1.)})
        if not (pid := os.fork()):
            how(k)
            save_checkpoint(folder, 1, {'w':torch.full((10_000,), 2.)}) # the same name
            os._exit(0)
        _,status = os.waitpid(pid, 0)
        res.append((folder, k, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))
print(json.dumps(res))''')
    assert len(ended)==10
    for folder,k,sig in ended:
        assert sig==(signal.SIGKILL if folder.startswith('killed') else signal.SIGXFSZ), folder
        part = tmp_path/folder/'checkpoint-000000001.pt.part'
        assert part.exists() and part.stat().st_size==k
        assert torch.equal(load_checkpoint(tmp_path/folder)['w'], torch.full((10_000,), 1.))
        save_checkpoint(tmp_path/folder, 2, {'w':torch.full((10,), 3.)}) # the next save clears up
        assert sorted(os.listdir(tmp_path/folder))==['checkpoint-000000001.pt','checkpoint-000000002.pt']

@posix
def test_killed_at_random_moments_the_newest_checkpoint_is_good_and_none_goes_back(tmp_path):
    seen = child(tmp_path, '''
random.seed(0)
seen = [0]
for _ in range(25):
    if not (pid := os.fork()):
        for n in range(seen[-1]+1, 10**6): save_checkpoint('run', n, {'w':torch.full((20_000,), float(n)), 'random':random_states()})
    time.sleep(random.uniform(0.005, 0.12))
    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
    if not checkpoints('run'): continue
    c = load_checkpoint('run')
    assert (c['w']==c['images_seen']).all()
    seen.append(c['images_seen'])
print(json.dumps(seen))''')
    assert seen==sorted(seen) and seen[-1]>=3
    with warnings.catch_warnings(): # none was passed over
        warnings.simplefilter('error')
        assert load_checkpoint(tmp_path/'run')['images_seen']==seen[-1]
    assert len(checkpoints(tmp_path/'run'))>=3 # more if killed between writing and removing

# --- a disk that is full, an error, Ctrl-C

@posix
def test_full_disk_says_so_and_leaves_the_older_ones(tmp_path):
    said = child(tmp_path, '''
for n in (1,2,3): save_checkpoint('run', n, {'w':torch.full((10_000,), float(n))})
res = []
for k in (0, 100, 5_000, 41_000):
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (k, soft[1]))
    try: save_checkpoint('run', 4, {'w':torch.ones(10_000)})
    except OSError as e: said = [e.errno, str(e)]
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    res.append([*said, sorted(os.listdir('run')), load_checkpoint('run')['images_seen']])
print(json.dumps(res))''')
    assert len(said)==4
    for number,text,files,newest in said:
        assert number==errno.EFBIG and 'could not write' in text and 'checkpoint-000000004.pt' in text and 'free some space' in text
        assert files==[f'checkpoint-00000000{n}.pt' for n in (1,2,3)] and newest==3

@pytest.mark.parametrize('error', (KeyboardInterrupt(), OSError(errno.ENOSPC, 'No space left on device'), OSError('odd'), ZeroDivisionError()), ids=repr)
def test_error_in_the_block_removes_the_part_and_keeps_the_old_file(tmp_path, error):
    path = tmp_path/'a.bin'
    path.write_bytes(b'old')
    with pytest.raises(type(error)) as e:
        with atomic_write(path) as f: f.write(b'half'); raise error
    if isinstance(error, OSError): assert e.value.errno==error.errno and (error.strerror or 'odd') in str(e.value) and str(path) in str(e.value)
    assert path.read_bytes()==b'old' and os.listdir(tmp_path)==['a.bin']
    with pytest.raises(type(error)):
        with atomic_write(tmp_path/'new.bin') as f: raise error
    assert os.listdir(tmp_path)==['a.bin']

def test_interrupted_save_raises_the_interrupt(tmp_path, monkeypatch):
    def interrupted(obj, path): Path(path).write_bytes(b'PK half'); raise KeyboardInterrupt
    save_checkpoint(tmp_path, 1, {'n':1})
    monkeypatch.setattr(torch, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt): save_checkpoint(tmp_path, 2, {'n':2})
    assert os.listdir(tmp_path)==['checkpoint-000000001.pt'] and load_checkpoint(tmp_path)['n']==1

def test_writers_error_that_is_not_the_disks_is_passed_on(tmp_path, monkeypatch):
    def broken(obj, path): raise RuntimeError('a storm')
    monkeypatch.setattr(torch, 'save', broken)
    with pytest.raises(RuntimeError, match='a storm'): save_tensors(tmp_path/'a.pt', 'test', 1)
    assert not os.listdir(tmp_path)

def test_part_is_not_seen_under_the_name_before_the_end(tmp_path):
    path = tmp_path/'deep'/'er'/'a.bin'
    with atomic_write(str(path)) as f:
        f.write(b'new')
        assert not path.exists() and os.listdir(path.parent)==['a.bin.part']
    assert path.read_bytes()==b'new' and os.listdir(path.parent)==['a.bin']

def test_a_place_that_cannot_be_written_to_says_so(tmp_path):
    (tmp_path/'file').write_text('x'); (tmp_path/'folder').mkdir()
    with pytest.raises(OSError, match='could not write .*file.a.pt'): save_tensors(tmp_path/'file'/'a.pt', 'test', 1)
    with pytest.raises(OSError, match='could not write .*folder'): save_tensors(tmp_path/'folder', 'test', 1)
    assert sorted(os.listdir(tmp_path))==['file','folder']

# --- what goes in comes out

content = dict(w=torch.randn(3, 4), half=torch.randn(5).bfloat16(), bytes=torch.arange(7, dtype=torch.uint8), empty=torch.zeros(0, 3), scalar=torch.tensor(2.5), n=2**70,
               x=-1.5, yes=True, nothing=None, s='Ärger\n', nested={4:[1, (2., 'three', None)], '8':{}, None:[], 2.5:(), True:1}, inf=float('inf'))

def test_plain_values_come_back_to_the_last_bit(tmp_path):
    f = load_tensors(save_tensors(tmp_path/'a.pt', 'test', 3, **content), 'test', 3)
    assert same(f, dict(format='test', version=3, **content))
    assert same(load_tensors(tmp_path/'a.pt', 'test', 7), f) # a newer reader

def test_the_same_content_gives_the_same_bytes(tmp_path):
    a,b = (save_checkpoint(tmp_path/o, 5, content).read_bytes() for o in 'ab')
    assert a==b

def test_tensors_of_all_sorts_become_plain_ones(tmp_path):
    from fastai.torch_core import TensorImage
    big = torch.randn(100_000)
    odd = dict(parameter=torch.nn.Parameter(torch.ones(2)), graph=torch.ones(2, requires_grad=True)*2, fastai=TensorImage(torch.ones(2)), view=big[5:8], expanded=torch.ones(1).expand(4),
               turned=torch.arange(6.).view(2, 3).T, state=OrderedDict(a=torch.ones(2)))
    path = save_tensors(tmp_path/'a.pt', 'test', 1, **odd)
    f = load_tensors(path, 'test', 1)
    assert all(type(f[k]) is torch.Tensor and not f[k].requires_grad and torch.equal(f[k], torch.Tensor(o.detach())) for k,o in odd.items() if k!='state')
    assert type(f['state']) is dict and path.stat().st_size<20_000

def test_saving_leaves_the_tensors_alone(tmp_path):
    D = Discriminator(8, fmap_max=8)
    before = {k:v.clone() for k,v in D.state_dict().items()}
    save_tensors(tmp_path/'a.pt', 'test', 1, D=D.state_dict(), raw=dict(D.named_parameters()))
    assert all(torch.equal(v, before[k]) for k,v in D.state_dict().items()) and all(p.requires_grad for p in D.parameters())

class Bomb:
    def __reduce__(self): return os.mkdir, ('exploded',)

@pytest.mark.parametrize('bad,where', [
    (dict(loss=torch.nn.MSELoss()), 'loss is of type MSELoss'), (dict(a={'b':[1, Bomb()]}), r"a\['b'\]\[1\] is of type Bomb"), (dict(n=np.float64(1)), 'n is of type float64'),
    (dict(a=np.zeros(2)), 'a is of type ndarray'), (dict(p=Path('x')), 'p is of type .*Path'), (dict(f=len), 'f is of type builtin'), (dict(s={1}), 's is of type set'),
    (dict(d={(Bomb(),):1}), 'a key of d.* is of type Bomb'), (dict(t=torch.float32), 't is of type dtype'), (dict(z=torch.Size([1])), 'z is of type Size')], ids=lambda o: str(o)[:20])
def test_objects_are_refused_when_they_are_saved(tmp_path, monkeypatch, bad, where):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=where): save_tensors('a.pt', 'test', 1, ok=1, **bad)
    with pytest.raises(ValueError, match=where): save_checkpoint('run', 1, bad)
    assert not os.listdir(tmp_path)

# --- files that are not what they should be

def refused(path, match='damaged or cut short'):
    with pytest.raises(ValueError, match=f'{path.name}.*{match}'): load_tensors(path, 'test', 1)

def test_a_file_cut_at_any_length_is_refused(tmp_path):
    whole = save_tensors(tmp_path/'a.pt', 'test', 1, w=torch.arange(200.), n=3).read_bytes()
    for k in [*range(0, len(whole), 37), *range(len(whole)-30, len(whole))]:
        (tmp_path/'a.pt').write_bytes(whole[:k]); refused(tmp_path/'a.pt')

def test_one_flipped_bit_is_refused_or_does_no_harm(tmp_path):
    path = save_tensors(tmp_path/'a.pt', 'test', 1, w=torch.arange(200.), n=3, s='text', nested={'a':[1, None]})
    whole,good,rng,count = path.read_bytes(),load_tensors(path, 'test', 1),random.Random(0),0
    tensor = whole.index(torch.arange(200.).numpy().tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for i in range(0, len(whole), 3):
            b = bytearray(whole); b[i] ^= 1<<rng.randrange(8)
            path.write_bytes(b)
            try: f = load_tensors(path, 'test', 1)
            except ValueError: count += 1; continue
            assert same(f, good), f'byte {i}'
            assert not tensor<=i<tensor+800
    assert count>len(whole)//6

def test_a_block_of_zeros_is_refused(tmp_path): # a file whose name reached the disk before its bytes
    path = save_tensors(tmp_path/'a.pt', 'test', 1, w=torch.randn(20_000))
    b = bytearray(path.read_bytes())
    b[8192:12288] = bytes(4096)
    path.write_bytes(b); refused(path)
    path.write_bytes(bytes(len(b))); refused(path)

def changed(path, **changes):
    "A file with a right directory and right checksums, but other content than was written"
    torch.save({**torch.load(path, weights_only=True), **changes}, path)
    return path

def test_tensors_that_are_not_those_that_were_written_are_refused(tmp_path):
    w = dict(a=torch.arange(6.), b=torch.zeros(6, dtype=torch.int32), c=torch.tensor(1.))
    for other in (dict(w, a=w['b'], b=w['a']), dict(w, a=w['a'].view(2, 3)), dict(w, b=w['b'].float()), dict(w, c=torch.tensor(2.)), dict(a=w['a'], b=w['b']), dict(w, d=torch.ones(2)), dict(a=w['a'], b=w['b'], d=w['c'])):
        refused(changed(save_tensors(tmp_path/'a.pt', 'test', 1, w=w), w=other), 'has other tensors than were written')
    assert load_tensors(changed(tmp_path/'a.pt', w=w, note='mine'), 'test', 1)['note']=='mine'

def test_a_file_from_before_there_was_a_digest_is_read(tmp_path):
    held = torch.load(save_tensors(tmp_path/'a.pt', 'test', 1, w=torch.ones(3)), weights_only=True)
    assert len(held.pop('digest'))==32
    torch.save(held, tmp_path/'old.pt')
    assert same(load_tensors(tmp_path/'old.pt', 'test', 1), load_tensors(tmp_path/'a.pt', 'test', 1))
    torch.save({**held, 'digest':7}, tmp_path/'a.pt'); refused(tmp_path/'a.pt', 'has other tensors')

@pytest.mark.parametrize('bad', (torch.ones(2).to_sparse(), torch.zeros(2, dtype=torch.uint16), torch.zeros(2, dtype=torch.float8_e4m3fn)), ids=lambda o: str(o.dtype))
def test_tensors_of_kinds_that_could_not_be_read_are_refused_when_they_are_saved(tmp_path, bad):
    with pytest.raises(ValueError, match='w is of type torch'): save_tensors(tmp_path/'a.pt', 'test', 1, w=bad)

def test_foreign_files_are_refused(tmp_path):
    import zipfile
    path = tmp_path/'a.pt'
    for foreign in ({'epoch':1}, [1,2], torch.zeros(3), {'format':'other', 'version':1}):
        torch.save(foreign, path); refused(path, 'is a PyTorch file, but not test')
    with pytest.raises(ValueError, match='not a checkpoint of progrow'): load_checkpoint(path)
    torch.save({'format':'test'}, path, _use_new_zipfile_serialization=False); refused(path)
    with zipfile.ZipFile(path, 'w') as z: z.writestr('a/hello.txt', 'hello')
    refused(path)
    for b in (b'', b'PK', b'\x89PNG\r\n', os.urandom(5000)): path.write_bytes(b); refused(path)

@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'format':'test', 'version':1, 'x':Bomb()}, 'a.pt'); refused(Path('a.pt'), "it asks for 'posix mkdir'")
    Path('b.pt').write_bytes(pickle.dumps(Bomb())); refused(Path('b.pt'))
    torch.save({'x':Bomb()}, 'c.pt', _use_new_zipfile_serialization=False); refused(Path('c.pt'))
    save_checkpoint('run', 3, {}); os.replace('a.pt', 'run/checkpoint-000000005.pt')
    with pytest.warns(UserWarning, match='checkpoint-000000005.pt'): assert load_checkpoint('run')['images_seen']==3
    assert not Path('exploded').exists() and not Path('run/exploded').exists()

def test_newer_and_missing_files_say_so(tmp_path):
    save_tensors(tmp_path/'a.pt', 'test', 2); refused(tmp_path/'a.pt', 'format 2, this progrow reads 1: upgrade')
    for path in (tmp_path/'none.pt', tmp_path):
        with pytest.raises(FileNotFoundError, match='no file'): load_tensors(path, 'test', 1)

@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_a_missing_device_is_not_called_a_damaged_file(tmp_path):
    path = save_generator(Generator(4, latent_dim=6, fmap_max=8), tmp_path/'g.pt')
    with pytest.raises(Exception, match='(?i)cuda|nvidia') as e: load_generator(path, device='cuda')
    assert 'damaged' not in str(e.value)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_tensors_of_a_gpu_come_back_on_the_cpu(tmp_path):
    w = torch.arange(5., device='cuda')
    path = save_tensors(tmp_path/'a.pt', 'test', 1, w=w)
    assert same(load_tensors(path, 'test', 1)['w'], w.cpu())
    states = random_states()
    a = torch.randn(3, device='cuda')
    save_checkpoint(tmp_path, 1, {'states':states})
    set_random_states(load_checkpoint(tmp_path)['states'])
    assert torch.equal(torch.randn(3, device='cuda'), a)

# --- several of them

def save(folder, *images, **kwargs):
    for n in images: save_checkpoint(folder, n, {'w':torch.full((50,), float(n))}, **kwargs)
def there(folder): return [int(p.stem[11:]) for p in checkpoints(folder)]
def damage(path): path.write_bytes(path.read_bytes()[:-50])

def test_the_newest_few_are_kept(tmp_path):
    save(tmp_path/'a', 100, 200, 300, 1_000_000_000, 2_000_000_000) # ten digits sort by number too
    assert there(tmp_path/'a')==[2_000_000_000, 1_000_000_000, 300]
    save(tmp_path/'b', 1, 2, 3, keep=1)
    assert os.listdir(tmp_path/'b')==['checkpoint-000000003.pt']
    path = save_checkpoint(tmp_path/'b', 3, {'again':1}, keep=1)
    assert path==tmp_path/'b'/'checkpoint-000000003.pt' and load_checkpoint(path)['again']==1 and there(tmp_path/'b')==[3]

def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = ('checkpoint-best.pt','checkpoint-12.pt','generator.pt','checkpoint-000000001.pt.bak','log.jsonl','generator.pt.part')
    for o in others: (tmp_path/o).write_text('mine')
    (tmp_path/'checkpoint-000000009.pt.part').write_text('of a killed process')
    save(tmp_path, 1, 2, 3, keep=2)
    assert sorted(os.listdir(tmp_path))==sorted([*others, 'checkpoint-000000002.pt','checkpoint-000000003.pt']) and there(tmp_path)==[3,2]

def test_a_run_that_went_back_sets_aside_those_further_on(tmp_path):
    save(tmp_path, 700, 800, 900)
    save(tmp_path, 10, 20, keep=1)
    assert there(tmp_path)==[20] and load_checkpoint(tmp_path)['images_seen']==20
    assert [o.name for o in sorted(tmp_path.glob('*.aside'))]==[f'checkpoint-000000{n}.pt.aside' for n in (700,800,900)]

def test_a_folder_is_locked_until_its_process_ends(tmp_path):
    code = f"from progrow.checkpoint import folder_lock\nwith folder_lock({str(tmp_path)!r}): print('in', flush=True); input()"
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline()=='in\n'
    with pytest.raises(ValueError, match='another process is training'):
        with folder_lock(tmp_path): pass
    p.kill(); p.wait()
    with folder_lock(tmp_path): pass
    assert not os.listdir(tmp_path)

@pytest.mark.parametrize('keep', (0, -1))
def test_keep_nothing_is_refused_before_anything_is_written(tmp_path, keep):
    with pytest.raises(ValueError, match=f'keep must be 1 or more, got {keep}'): save(tmp_path/'run', 1, keep=keep)
    assert not (tmp_path/'run').exists()

@pytest.mark.parametrize('number', (errno.EIO, errno.EFBIG))
def test_a_failed_save_removes_no_older_one(tmp_path, monkeypatch, number):
    save(tmp_path, 1, 2, 3)
    def broken(obj, path): raise OSError(number, os.strerror(number))
    monkeypatch.setattr(torch, 'save', broken)
    with pytest.raises(OSError, match='as it was'): save(tmp_path, 4)
    with pytest.raises(OSError): save(tmp_path, 3) # the same name
    monkeypatch.undo()
    assert there(tmp_path)==[3, 2, 1] and load_checkpoint(tmp_path)['w'][0]==3

def crowded(folder, room, monkeypatch):
    "A disk with room for so many checkpoints"
    save = torch.save
    def full(obj, path):
        if len(list(folder.glob('*.pt')))>=room: Path(path).write_bytes(b'PK half'); raise OSError(errno.ENOSPC, 'No space left on device')
        save(obj, path)
    monkeypatch.setattr(torch, 'save', full)

def test_on_a_full_disk_the_oldest_makes_room(tmp_path, monkeypatch):
    save(tmp_path, 1, 2, 3)
    crowded(tmp_path, 3, monkeypatch)
    with pytest.warns(UserWarning, match='the disk is full: checkpoint-000000001.pt makes room for checkpoint-000000004.pt'): save(tmp_path, 4)
    assert there(tmp_path)==[4, 3, 2] and load_checkpoint(tmp_path)['w'][0]==4 and len(os.listdir(tmp_path))==3

def test_on_a_full_disk_the_newest_good_one_stays(tmp_path, monkeypatch):
    save(tmp_path, 1, 2, 3); damage(tmp_path/'checkpoint-000000003.pt')
    crowded(tmp_path, 0, monkeypatch)
    with pytest.warns(UserWarning, match='makes room'), pytest.raises(OSError, match='No space left.*as it was'): save(tmp_path, 4)
    assert there(tmp_path)==[3, 2] and not list(tmp_path.glob('*.part')) # the third is damaged, so the second is not touched
    with pytest.raises(OSError, match='No space left'): save(tmp_path, 4)
    with pytest.warns(UserWarning, match='passing over'): assert load_checkpoint(tmp_path)['w'][0]==2

def test_the_newest_good_one_is_taken(tmp_path):
    save(tmp_path, 1, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert load_checkpoint(str(tmp_path))['images_seen']==3
    damage(tmp_path/'checkpoint-000000003.pt')
    with pytest.warns(UserWarning, match='checkpoint-000000003.pt.*damaged'): assert load_checkpoint(tmp_path)['w'][0]==2
    with pytest.raises(ValueError, match='checkpoint-000000003.pt.*damaged'): load_checkpoint(tmp_path/'checkpoint-000000003.pt') # asked for by name
    damage(tmp_path/'checkpoint-000000002.pt')
    with pytest.warns(UserWarning) as said: assert load_checkpoint(tmp_path)['images_seen']==1
    assert len(said)==2
    assert all('checkpoint-000000001.pt is taken instead, and what was trained after it is lost' in str(o.message) for o in said)
    damage(tmp_path/'checkpoint-000000001.pt')
    with warnings.catch_warnings():
        warnings.simplefilter('error') # all that is wrong stands in the error
        with pytest.raises(ValueError, match='none of the 3 checkpoints.*000000003.pt.*000000002.pt.*000000001.pt.*damaged'): load_checkpoint(tmp_path)

@posix
def test_a_dead_link_and_a_folder_are_passed_over(tmp_path):
    save(tmp_path, 1)
    (tmp_path/'checkpoint-000000003.pt').mkdir()
    (tmp_path/'checkpoint-000000004.pt').symlink_to('gone.pt')
    with pytest.warns(UserWarning, match='passing over a checkpoint: there is no file') as said: assert load_checkpoint(tmp_path)['images_seen']==1
    assert len(said)==2
    save(tmp_path, 5, keep=1) # and are no reason not to save
    assert there(tmp_path)==[5, 3]

def test_a_checkpoint_that_lacks_its_count_is_passed_over(tmp_path):
    save(tmp_path, 1)
    save_tensors(tmp_path/'checkpoint-000000002.pt', 'progrow-checkpoint', 1, w=torch.ones(2))
    with pytest.warns(UserWarning, match='checkpoint-000000002.pt has no images_seen'): assert load_checkpoint(tmp_path)['images_seen']==1

def test_no_checkpoint_at_all(tmp_path):
    assert checkpoints(tmp_path)==[] and checkpoints(tmp_path/'none')==[]
    with pytest.raises(FileNotFoundError, match='no checkpoint in'): load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match='no file'): load_checkpoint(tmp_path/'none')

# --- chance and settings

def draws(): return torch.randn(5).tolist(), np.random.randn(3).tolist(), np.random.rand(2).tolist(), [random.gauss(0, 1) for _ in range(3)], random.random()

@pytest.mark.parametrize('before', (0, 1, 2, 700))
def test_every_generator_goes_on_from_where_it_stood(tmp_path, before):
    torch.manual_seed(5); np.random.seed(5); random.seed(5)
    for _ in range(before): torch.rand(1), np.random.randn(), random.gauss(0, 1)
    save_checkpoint(tmp_path, 1, {'states':random_states()})
    a = draws(); draws()
    set_random_states(load_checkpoint(tmp_path)['states'])
    assert draws()==a!=draws()

def test_states_do_not_change_while_drawing_goes_on():
    states = random_states()
    a = draws()
    set_random_states(states); assert draws()==a
    set_random_states(states); assert draws()==a

@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_states_of_gpus_that_are_gone_are_left_out():
    states = {**random_states(), 'cuda':[torch.zeros(16, dtype=torch.uint8)]*3}
    a = draws()
    set_random_states(states); assert draws()==a

@pytest.mark.parametrize('change', [dict(torch=torch.zeros(3)), dict(numpy={}), dict(python=dict(version=3, state=torch.zeros(5, dtype=torch.int64), gauss=None)), dict(cuda=[1])], ids=lambda o: next(iter(o)))
def test_states_that_cannot_be_taken_up_change_nothing(change):
    states = random_states()
    assert random_problem(states) is None
    bad = {**states, **change}
    assert 'damaged' in random_problem(bad)
    with pytest.raises(ValueError, match='random states cannot be taken up'): set_random_states(bad)
    assert same(random_states(), states)

def test_settings_are_compared_line_by_line():
    a = dict(lr=.001, seed=3, schedule=dict(batch_size={4:16, 8:8}, kimg=600), loss='lsgan', labels=None)
    assert settings_differ(a, a)==[]==settings_differ({}, {})
    b = dict(lr=.002, seed=3, schedule=dict(batch_size={4:16, 8:4}, kimg=600.), loss='lsgan', mirror=True)
    assert settings_differ(a, b)==['lr: the checkpoint has 0.001, this run 0.002', 'schedule.batch_size.8: the checkpoint has 8, this run 4',
                                   'labels: the checkpoint has None, this run nothing', 'mirror: the checkpoint has nothing, this run True']
    assert settings_differ(dict(lr=.001), dict(lr={4:.001}))==['lr: the checkpoint has 0.001, this run nothing', 'lr.4: the checkpoint has nothing, this run 0.001']

# --- generators

@pytest.mark.parametrize('config', (dict(), dict(image_channels=1, num_classes=3)), ids=str)
def test_a_generator_comes_back_and_draws_the_same(tmp_path, config):
    G = Generator(16, latent_dim=6, fmap_max=8, **config)
    path = save_generator(G, tmp_path/'a'/'g.pt', resolution=8)
    H,z,labels = load_generator(path),torch.randn(3, 6),torch.tensor([0,1,2]) if config else None
    assert torch.equal(H(z, labels), G(z, labels, resolution=8)) and torch.equal(H(z, labels, resolution=16), G(z, labels))
    assert H.config==G.config and H.resolution==8 and not H.training and not any(p.requires_grad for p in H.parameters()) and os.listdir(path.parent)==['g.pt']

def test_a_checkpoint_is_not_a_generator_and_the_other_way_round(tmp_path):
    path,g = save_checkpoint(tmp_path, 1, {}),save_generator(Generator(4, latent_dim=6, fmap_max=8), tmp_path/'g.pt')
    with pytest.raises(ValueError, match='has no settings'): load_generator(path)
    with pytest.raises(ValueError, match='not a checkpoint of progrow'): load_checkpoint(g)

def test_a_generator_of_an_unknown_network_says_so(tmp_path):
    class Dream(Generator): pass
    path = save_generator(Dream(4, latent_dim=6, fmap_max=8), tmp_path/'g.pt')
    with pytest.raises(ValueError, match='g.pt holds a Dream, this progrow knows Generator'): load_generator(path)

@pytest.mark.parametrize('config', (dict(), dict(styles=False, constant_input=False, noise=False, mapping_layers=0, mixing=0.), dict(num_classes=3, mixing=0.)), ids=str)
def test_a_style_generator_comes_back_and_draws_the_same(tmp_path, config):
    G = StyleGenerator(16, latent_dim=6, fmap_max=8, **config).eval()
    G.w_avg.normal_()
    labels = torch.tensor([0,1,2]) if config.get('num_classes') else None
    H,z = load_generator(save_generator(G, tmp_path/'g.pt', resolution=8)),torch.randn(3, 6)
    assert torch.equal(H(z, labels), G(z, labels, resolution=8)) and torch.equal(H(z, labels, psi=.5), G(z, labels, resolution=8, psi=.5))
    assert H.config==G.config and torch.equal(H.w_avg, G.w_avg) and not H.training

def test_network_class():
    from progrow.checkpoint import generator_networks, network_class
    assert network_class('Generator', generator_networks) is Generator and network_class('StyleGenerator', generator_networks) is StyleGenerator
    with pytest.raises(ValueError, match='this run holds a Dream, this progrow knows Generator, StyleGenerator, ZooGenerator. A network of your own: give its class.*upgrade progrow'): network_class('Dream', generator_networks, 'this run')

# --- generators that do not fit

def held(tmp_path, G=None, **changes):
    "A generator file with changes, but no digest that tells"
    f = torch.load(save_generator(G or StyleGenerator(8, latent_dim=6, fmap_max=8), tmp_path/'g.pt'), weights_only=True)
    f.pop('digest')
    for k,v in changes.items(): f = {o:x for o,x in f.items() if o!=k} if v is None else {**f, k:{**f[k], **v} if isinstance(v, dict) else v}
    torch.save(f, tmp_path/'g.pt')
    return tmp_path/'g.pt'

@pytest.mark.parametrize('k', ('network','config','resolution','weights'))
def test_a_generator_that_lacks_a_key_says_which(tmp_path, k):
    from progrow.runs import describe
    for use in (load_generator, describe):
        with pytest.raises(ValueError, match=f'g.pt has no {k}: it is damaged'): use(held(tmp_path, **{k:None}))

@pytest.mark.parametrize('config,says', [
    (dict(fmap_base=2**40), 'fmap_base is out of range'), (dict(mapping_layers=10**8), 'has 100000000 layers, but'), (dict(resolution=2**17), 'weights .* (are missing|should be)'),
    (dict(latent_dim=2**30), 'should be'), (dict(num_classes=2**30), 'missing'), (dict(resolution=-8), 'out of range'), (dict(resolution=9), 'power of two'), (dict(resolution='8'), 'resolution is a str'),
    (dict(noise=1), 'noise is a int'), (dict(latent_dim=1.5), 'latent_dim is a float'), (dict(latent_dim=True), 'latent_dim is a bool'), (dict(mixing=7), 'mixing is a probability'), (dict(w_dim=[1]), 'w_dim is a list'),
    (dict(wings=2), "setting 'wings', which is new: upgrade progrow")], ids=str)
def test_settings_that_do_not_fit_the_weights_are_refused_before_anything_is_built(tmp_path, monkeypatch, config, says):
    path,build,begun = held(tmp_path, config=config),progrow.checkpoint._built,time.perf_counter()
    def watched(make, config, weights, device='cpu'): assert device=='meta'; return build(make, config, weights, device)
    monkeypatch.setattr(progrow.checkpoint, '_built', watched)
    with pytest.raises(ValueError, match=f'g.pt does not fit a StyleGenerator: .*{says}'): load_generator(path)
    assert time.perf_counter()-begun<5

def test_weights_that_do_not_fit_are_named(tmp_path):
    G = Generator(8, latent_dim=6, fmap_max=8)
    w = G.state_dict()
    for weights,says in [({k:v for k,v in w.items() if k!='to_rgb.4.bias'}, 'the weights to_rgb.4.bias are missing'), ({**w, 'wing':torch.ones(3)}, "'wing' are more than it has"),
                         ({**w, 'to_rgb.4.bias':torch.zeros(2)}, r'to_rgb.4.bias are \(2,\), and should be \(3,\)'), ({**w, 'to_rgb.4.bias':'x'}, 'are a str'), ({**w, 'to_rgb.4.bias':torch.zeros(3, dtype=torch.int64)}, 'are torch.int64')]:
        path = held(tmp_path, G); f = torch.load(path, weights_only=True); torch.save({**f, 'weights':weights}, path)
        with pytest.raises(ValueError, match=f'g.pt does not fit a Generator: .*{says}'): load_generator(path)
    for resolution in (6, 16, -4):
        with pytest.raises(ValueError, match=f'draws at no {resolution} pixels'): load_generator(held(tmp_path, G, resolution=resolution))

# --- classes, and networks of one's own

def test_names_of_classes_travel_with_the_generator(tmp_path):
    G = Generator(4, latent_dim=6, fmap_max=8, num_classes=2)
    assert load_generator(save_generator(G, tmp_path/'g.pt', classes=('cats','x'*999))).classes==['cats','x'*255]
    assert load_generator(save_generator(G, tmp_path/'g.pt')).classes is None
    with pytest.raises(ValueError, match='2 classes, but names for 3'): save_generator(G, tmp_path/'g.pt', classes='abc')
    for bad in (['a'], [1,2], 'ab', ['a','x'*256]):
        with pytest.raises(ValueError, match='g.pt does not fit a Generator: .*class'): load_generator(held(tmp_path, G, classes=bad))

class Pale(Generator):
    "A network of one's own, with a setting of its own"
    def __init__(self, resolution, shade=.5, **sizes):
        super().__init__(resolution, **sizes)
        self.shade,self.config = shade,{**self.config, 'shade':shade}
    def forward(self, *args, **kwargs): return super().forward(*args, **kwargs)*self.shade

def test_a_network_of_ones_own_is_read_with_its_class(tmp_path):
    G,z = Pale(8, .3, latent_dim=6, fmap_max=8),torch.randn(2, 6)
    path = save_generator(G, tmp_path/'g.pt')
    with pytest.raises(ValueError, match=r'g.pt holds a Pale.*give its class, load_generator\(path, network=Pale\)'): load_generator(path)
    for network in (Pale, lambda **config: Pale(**config)):
        H = load_generator(path, network=network)
        assert type(H) is Pale and torch.equal(H(z), G(z)) and not H.training
    with pytest.raises(ValueError, match="does not fit a Pale: it cannot be made .*'shade'"): load_generator(path, network=Generator)
    with pytest.raises(ValueError, match='does not fit a Pale: .*missing'): load_generator(path, network=lambda **config: torch.nn.Linear(2, 2))

def test_what_makes_room_on_a_full_disk(tmp_path):
    "A run that went back keeps its own way: first what was set aside goes, then the other way, then the oldest"
    from progrow.checkpoint import _spare
    for n in (10, 20, 30, 40): save_checkpoint(tmp_path, n, {'x':1}, keep=9)
    os.replace(tmp_path/'checkpoint-000000040.pt', tmp_path/'checkpoint-000000040.pt.aside')
    gone = []
    while o := _spare(tmp_path/'checkpoint-000000022.pt'): gone.append(o.name[11:]); o.unlink()
    assert gone==['000000040.pt.aside', '000000030.pt', '000000010.pt'] and [p.name for p in checkpoints(tmp_path)]==['checkpoint-000000020.pt']
