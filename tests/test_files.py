"Files and folders: whole or not there, one process at a time, a short name for anything"
import errno, json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest, torch
from filelock import FileLock
from progrow import files
from progrow.files import atomic_folder, atomic_write, cache_folder, fingerprint, folder_lock, made_once, moved, remove_folder, write_json

def python(code, **kw): return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **kw)

# --- files

def test_json_is_whole_or_as_before(tmp_path):
    path = write_json(tmp_path/'deep'/'a.json', dict(x=[1,2.5,None,True,'é']))
    assert json.loads(path.read_text())==dict(x=[1,2.5,None,True,'é']) and os.listdir(path.parent)==['a.json']
    with pytest.raises(TypeError): write_json(path, dict(x=torch.zeros(1)))
    assert json.loads(path.read_text())['x'][0]==1 and os.listdir(path.parent)==['a.json']

def test_a_writer_may_use_the_file_as_it_likes(tmp_path):
    with atomic_write(tmp_path/'a.npy') as f: np.save(f, np.arange(5))
    with atomic_write(tmp_path/'b.pt') as f: torch.save({'x':torch.ones(2)}, f)
    assert np.load(tmp_path/'a.npy').tolist()==[0,1,2,3,4] and torch.load(tmp_path/'b.pt', weights_only=True)['x'].sum()==2

@pytest.mark.skipif(os.name=='nt', reason='modes')
def test_files_and_folders_obey_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_json(tmp_path/'a.json', 1)
        with atomic_folder(tmp_path/'set') as f: (f/'x').write_text('x')
    finally: os.umask(old)
    assert [o.stat().st_mode & 0o777 for o in (tmp_path/'a.json', tmp_path/'set', tmp_path/'set'/'x')]==[0o640,0o750,0o640]

posix = pytest.mark.skipif(os.name=='nt', reason='locks and links of POSIX')

@posix
@pytest.mark.parametrize('there', [True,False])
def test_a_planted_link_is_not_followed(tmp_path, there):
    (tmp_path/'run').mkdir()
    if there: (tmp_path/'precious').write_text('mine')
    (tmp_path/'run'/'a.json.part').symlink_to(tmp_path/'precious')
    write_json(tmp_path/'run'/'a.json', 1)
    assert (tmp_path/'run'/'a.json').read_text()=='1\n' and not (tmp_path/'run'/'a.json').is_symlink()
    assert (tmp_path/'precious').read_text()=='mine' if there else not (tmp_path/'precious').exists()

@posix
def test_a_planted_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path/'a.json.part')
    code = f"from progrow.files import write_json; print(write_json({str(tmp_path/'a.json')!r}, 1))"
    with python(code) as p: assert p.wait(60)==0
    assert (tmp_path/'a.json').read_text()=='1\n'

def test_a_hard_link_of_a_dead_writer_does_not_change_its_other_name(tmp_path):
    (tmp_path/'precious').write_text('mine')
    os.link(tmp_path/'precious', tmp_path/'a.json.part')
    write_json(tmp_path/'a.json', 1)
    assert (tmp_path/'precious').read_text()=='mine'

@posix
def test_two_writers_of_one_file_do_not_mix(tmp_path):
    with atomic_write(tmp_path/'a') as f:
        f.write(b'slow ')
        with atomic_write(tmp_path/'a') as g: g.write(b'quick')
        assert (tmp_path/'a').read_bytes()==b'quick'
        f.write(b'and late')
    assert (tmp_path/'a').read_bytes()==b'slow and late' and os.listdir(tmp_path)==['a']

@posix
def test_the_half_file_of_a_dead_process_goes(tmp_path):
    code = f"import os\nfrom progrow.files import atomic_write\nwith atomic_write({str(tmp_path/'a')!r}) as f: f.write(b'half'); f.flush(); os.kill(os.getpid(), 9)"
    with python(code) as p: p.wait(60)
    assert os.listdir(tmp_path)==['a.part']
    write_json(tmp_path/'a', 1)
    assert os.listdir(tmp_path)==['a']

# --- folders

@posix
def test_all_of_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced,real = [],os.fsync
    def fsync(fd): synced.append((os.readlink(f'/proc/self/fd/{fd}'), (tmp_path/'set').exists())); real(fd)
    if not os.path.isdir('/proc/self/fd'): pytest.skip('no /proc')
    monkeypatch.setattr(os, 'fsync', fsync)
    with atomic_folder(tmp_path/'set') as f:
        (f/'deep').mkdir()
        for o in ('a','deep/b'): (f/o).write_text('x')
    assert {(str(f/o).rstrip('/'), False) for o in ('', 'a', 'deep', 'deep/b')}|{(str(tmp_path), True)}==set(synced)

@posix
@pytest.mark.parametrize('held', [True,False])
def test_what_a_dead_process_left_goes_after_a_minute_and_what_a_living_one_makes_stays(tmp_path, held):
    code = f"""from progrow.files import atomic_folder
with atomic_folder({str(tmp_path/'slow')!r}) as f: (f/'a').write_text('x'); print(f, flush=True); input()"""
    with python(code) as p:
        left = Path(p.stdout.readline().strip())
        if not held: p.kill(); p.wait(60)
        for age,stays in ((30,True), (90,held), (2*86400,held)):
            for o in (left/'a', left): os.path.exists(o) and os.utime(o, (time.time()-age,)*2)
            with atomic_folder(tmp_path/f'set {age}'): pass
            assert left.exists()==stays, age
        if held: p.communicate('\n', timeout=60)
    assert (tmp_path/'slow').exists()==held and not list(tmp_path.glob('.unfinished-*'))

def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path/'file').write_text('x')
    with pytest.raises(OSError, match='could not make .*set: .*Choose another place'), atomic_folder(tmp_path/'file'/'set'): pass

def test_removed_at_once(tmp_path):
    (tmp_path/'set'/'deep').mkdir(parents=True); (tmp_path/'file').write_text('x')
    for o in ('set','file','gone'): remove_folder(tmp_path/o)
    assert not os.listdir(tmp_path)

def test_a_folder_appears_at_the_end(tmp_path):
    with atomic_folder(tmp_path/'deep'/'set') as f:
        (f/'a').write_text('x')
        assert not (tmp_path/'deep'/'set').exists() and f.name.startswith('.unfinished-set-')
    assert os.listdir(tmp_path/'deep')==['set'] and os.listdir(tmp_path/'deep'/'set')==['a']

@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError, ZeroDivisionError])
def test_an_error_leaves_no_folder(tmp_path, error):
    with pytest.raises(error), atomic_folder(tmp_path/'set') as f: (f/'a').write_text('x'); raise error
    assert not os.listdir(tmp_path)

def test_the_quicker_of_two_folders_stays(tmp_path):
    with atomic_folder(tmp_path/'set') as f:
        (f/'a').write_text('slow')
        with atomic_folder(tmp_path/'set') as g: (g/'a').write_text('quick')
    assert (tmp_path/'set'/'a').read_text()=='quick' and os.listdir(tmp_path)==['set']

def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path/'set').write_text('x')
    with pytest.raises(OSError), atomic_folder(tmp_path/'set'): pass
    assert os.listdir(tmp_path)==['set']

@pytest.mark.parametrize('locks', [True,False])
def test_abandoned_folders_go(tmp_path, monkeypatch, locks):
    if not locks: monkeypatch.setattr(files, 'fcntl', None) # then after a day
    old,new,busy,minutes = (tmp_path/f'.unfinished-{o}-12ab' for o in ('old','new','busy','minutes'))
    for o in (old,new,busy,minutes): o.mkdir(); (o/'a').write_text('x')
    for o in (old/'a', old, busy): os.utime(o, (time.time()-2*86400,)*2)
    for o in (minutes/'a', minutes): os.utime(o, (time.time()-300,)*2)
    with atomic_folder(tmp_path/'set'): pass
    assert not old.exists() and new.exists() and busy.exists() and minutes.exists()==(not locks or os.name=='nt')

def test_age_of_a_vanished_folder(tmp_path): assert files._age(tmp_path/'gone')==0

# --- made once

def fill(folder): (folder/'a').write_bytes(b'abc'); return dict(n=3)
def use(folder, meta): return (folder/'a').read_bytes(),meta['n']

def test_made_once(tmp_path):
    assert made_once(tmp_path/'set', fill, use)==made_once(tmp_path/'set', None, use)==(b'abc',3)
    assert sorted(os.listdir(tmp_path/'set'))==['a','meta.json']

def test_a_folder_that_is_no_use_is_made_anew_once_and_then_refused(tmp_path):
    def never(folder, meta): raise KeyError('x')
    made_once(tmp_path/'set', fill, use)
    with pytest.warns(UserWarning, match='KeyError.*made anew'), pytest.raises(ValueError, match="set cannot be read as prepared files .KeyError: 'x'"):
        made_once(tmp_path/'set', fill, never)
    assert [o for o in os.listdir(tmp_path) if o!='set']==[]

def test_what_another_process_has_made_anew_is_not_removed(tmp_path, monkeypatch):
    made_once(tmp_path/'set', fill, use)
    (tmp_path/'set'/'a').write_bytes(b'abd')
    opened = files._opened
    def late(folder, use): # another process is quicker
        monkeypatch.setattr(files, '_opened', opened)
        try: return opened(folder, use)
        finally: made_once(folder, fill, lambda f,m: (f/'quick').write_text('x'))
    monkeypatch.setattr(files, '_opened', late)
    with pytest.warns(UserWarning): assert made_once(tmp_path/'set', fill, use)==(b'abc',3)
    assert (tmp_path/'set'/'quick').exists()

def test_large_files_are_read_through_after_they_were_written_to(tmp_path):
    file = tmp_path/'a'
    file.write_bytes(b'abc')
    seen = files._seen(file)
    file.write_bytes(b'abd')
    with pytest.raises(ValueError, match='a has changed'): files._check_file(file, **seen)
    with pytest.raises(ValueError, match='a has changed'): files._check_file(file, **seen, small=2)
    os.utime(file, ns=(seen['written'],)*2)
    with pytest.raises(ValueError, match='a has changed'): files._check_file(file, **seen)
    files._check_file(file, **seen, small=2) # as the disk says that nobody has written to it
    file.write_bytes(b'ab')
    with pytest.raises(ValueError, match='a has 2 bytes, expected 3'): files._check_file(file, **seen, small=2)

# --- locks

holder = "from progrow.files import folder_lock\nwith folder_lock({!r}): print('in', flush=True); input()"

@pytest.mark.parametrize('end', ['kill','interrupt','leave'])
def test_a_second_process_is_refused_until_the_first_ends(tmp_path, end):
    with python(holder.format(str(tmp_path)), stderr=subprocess.DEVNULL) as p:
        assert p.stdout.readline()=='in\n'
        with pytest.raises(ValueError, match='^another process is training in .*: wait for it, or choose another folder$'):
            with folder_lock(tmp_path): pytest.fail('two are in')
        if end=='kill': p.kill()
        elif end=='interrupt': p.send_signal(signal.SIGINT)
        else: p.stdin.write('\n'); p.stdin.flush()
        p.wait()
    assert os.listdir(tmp_path)==(['.lock'] if end=='kill' else [])
    with folder_lock(tmp_path): assert os.listdir(tmp_path)==['.lock']
    assert os.listdir(tmp_path)==[]

def test_this_process_is_refused_too_and_an_error_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path/'new'):
        with pytest.raises(ValueError, match='another process'), folder_lock(tmp_path/'new'): pass
        1/0
    assert os.listdir(tmp_path/'new')==[]
    with folder_lock(tmp_path/'new'): pass

def test_two_folders_are_two_locks(tmp_path):
    with folder_lock(tmp_path/'a'), folder_lock(tmp_path/'b'): pass

def test_other_files_stay(tmp_path):
    (tmp_path/'settings.json').write_text('{}')
    with folder_lock(tmp_path): pass
    assert os.listdir(tmp_path)==['settings.json']

def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def none(self): raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(FileLock, '_acquire', none)
    with folder_lock(tmp_path): pass

@pytest.mark.skipif(os.name=='nt', reason='removes no open file')
def test_a_folder_deleted_under_a_run_lets_no_second_one_in(tmp_path):
    with folder_lock(tmp_path/'run') as keep:
        shutil.rmtree(tmp_path/'run'); keep()
        with pytest.raises(ValueError, match='another process'), folder_lock(tmp_path/'run'): pytest.fail('two are in')
        keep()
    assert os.listdir(tmp_path/'run')==[]

@pytest.mark.skipif(os.name=='nt', reason='removes no open file')
def test_a_run_that_came_second_is_noticed_and_keeps_its_lock(tmp_path):
    with folder_lock(tmp_path/'run') as keep:
        shutil.rmtree(tmp_path/'run')
        with python(holder.format(str(tmp_path/'run'))) as p:
            assert p.stdout.readline()=='in\n'
            for _ in range(2):
                with pytest.raises(ValueError, match='another process is training in'): keep()
            assert os.listdir(tmp_path/'run')==['.lock']
            p.communicate('\n', timeout=60)
        keep()

# --- cache, fingerprints, progress, moved names

def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv('PROGROW_CACHE', raising=False)
    assert cache_folder()==cache_folder(True)==Path.home()/'.cache'/'progrow'
    monkeypatch.setenv('PROGROW_CACHE', '~/other')
    assert cache_folder()==Path.home()/'other' and cache_folder(tmp_path)==tmp_path and cache_folder('~/x')==Path.home()/'x'
    monkeypatch.setenv('PROGROW_CACHE', '')
    assert cache_folder()==Path.home()/'.cache'/'progrow'

@posix
@pytest.mark.parametrize('home', ['/', '', None, 'nowhere/at all', 'file'])
def test_without_a_home_the_cache_is_among_the_temporary_files(monkeypatch, tmp_path, home):
    (tmp_path/'file').write_text('x'); (tmp_path/'tmp').mkdir(); (tmp_path/'ro').mkdir()
    monkeypatch.delenv('PROGROW_CACHE', raising=False)
    monkeypatch.setattr(files.tempfile, 'tempdir', str(tmp_path/'tmp'))
    monkeypatch.setattr(os.path, 'expanduser', lambda o: o) if home is None else monkeypatch.setenv('HOME', str(tmp_path/home) if home[:1].isalpha() else home)
    monkeypatch.setattr(os, 'access', lambda *a: False)
    with pytest.warns(UserWarning, match='no home folder.*set PROGROW_CACHE to choose another'): found = cache_folder()
    assert found==tmp_path/'tmp'/f'progrow-{os.getuid()}' and found.stat().st_mode&0o777==0o700

@posix
def test_a_temporary_folder_of_somebody_else_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv('PROGROW_CACHE', raising=False); monkeypatch.setenv('HOME', '/')
    monkeypatch.setattr(files.tempfile, 'tempdir', str(tmp_path))
    real = os.getuid()
    (tmp_path/f'progrow-{real+1}').mkdir()
    monkeypatch.setattr(os, 'getuid', lambda: real+1)
    with pytest.raises(PermissionError, match='belongs to somebody else: set PROGROW_CACHE'): cache_folder()

@pytest.mark.parametrize('cache', [1, None, ['x'], 1.5])
def test_what_is_no_cache_folder_is_refused(cache):
    with pytest.raises(TypeError, match='expected True, False or a folder'): cache_folder(cache)

def test_fingerprints_do_not_change():
    "Caches and runs of earlier days are found by these"
    assert fingerprint(np.arange(12, dtype=np.uint8).reshape(3,4))=='4e85a98c0a3de55d'
    assert fingerprint(dict(n=5, seed=0))=='56d447f02aa3cc2b'

def test_fingerprints_differ_where_their_parts_do():
    x = np.arange(24, dtype=np.uint8).reshape(2,3,4)
    parts = [('ab','c'), ('a','bc'), ('abc',), (1,2), (12,), (x,), (x[::-1],), (x,x), ([1,2],), (dict(a=1),), (dict(a=2),), (None,), (True,), ('true',), (b'true!',)]
    assert len({fingerprint(*o) for o in parts})==len(parts)
    assert len(fingerprint(x))==16 and len(fingerprint(x, size=4))==8

def test_fingerprints_of_the_same_are_the_same():
    x = np.random.default_rng(0).integers(0, 256, (5,3,4), dtype=np.uint8)
    assert fingerprint(x)==fingerprint(np.asfortranarray(x))==fingerprint(x.tobytes())==fingerprint(x[:,::-1][:,::-1])
    assert fingerprint(dict(a=1, b=[np.int64(2), (3,)]))==fingerprint(dict(b=[2, [3]], a=1)) and fingerprint(np.arange(3))==fingerprint(np.arange(3).tobytes())
    with pytest.raises(TypeError, match='got Path|got PosixPath|got WindowsPath'): fingerprint(dict(a=Path('x')))

def test_moved_names_load_nothing_until_asked():
    find = moved('progrow.x', digits='sets')
    with pytest.raises(AttributeError, match="module 'progrow.x' has no attribute 'glyphs'"): find('glyphs')
    from progrow.sets import digits
    assert find('digits') is digits

def test_many_writers_of_one_file_and_a_reader(tmp_path):
    "Whoever reads sees one writer's file, whole; and no writer fails"
    write = '''
import sys, time
from progrow.files import atomic_write
path,me,end = sys.argv[1],sys.argv[2].encode(),time.time()+4
while time.time()<end:
    with atomic_write(path) as f: f.write(me*20_000); f.flush(); f.write(me*20_000)
'''
    path = tmp_path/'x'
    writers = [subprocess.Popen([sys.executable, '-W', 'ignore', '-c', write, str(path), k], stderr=subprocess.PIPE, text=True) for k in 'abc']
    odd,seen = [],0
    while any(p.poll() is None for p in writers):
        try: data = path.read_bytes()
        except FileNotFoundError: continue
        seen += 1
        if len(data)!=40_000 or len({*data})!=1: odd.append(len(data))
    errors = [p.stderr.read() for p in writers]
    assert not any(errors), errors[0][-800:]
    assert seen>20 and not odd and os.listdir(tmp_path)==['x']

@pytest.mark.skipif(os.name=='nt' or os.getuid()!=0, reason='another user is needed')
def test_a_home_that_may_not_be_entered(tmp_path):
    (tmp_path/'home').mkdir(mode=0o700)
    code = "import os; os.setuid(65534); os.environ.pop('PROGROW_CACHE', None)\nfrom progrow.files import cache_folder; print(cache_folder())"
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', 'import progrow.files\n'+code], env={**os.environ, 'HOME':str(tmp_path/'home'), 'TMPDIR':'/tmp'}, capture_output=True, text=True)
    assert r.returncode==0 and r.stdout.strip().endswith('progrow-65534'), r.stderr[-800:]

@pytest.mark.skipif(sys.platform!='linux', reason='looks into /proc')
def test_a_failed_save_gives_its_room_back_at_once(tmp_path):
    "PyTorch keeps its file open as long as the error lives, and with it what it has taken on the disk"
    import torch
    from progrow.checkpoint import save_tensors
    held = []
    real = torch.save
    def save(content, name):
        held.append(open(name, 'r+b')); real(content, name); raise OSError(28, 'No space left on device')
    torch.save = save
    try:
        with pytest.raises(OSError, match='could not write'): save_tensors(tmp_path/'x.pt', 'demo', 1, w=torch.zeros(10**5))
    finally: torch.save = real
    assert os.fstat(held[0].fileno()).st_size==0 and not os.listdir(tmp_path)
    held[0].close()
