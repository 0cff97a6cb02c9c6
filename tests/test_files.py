"Files and folders: whole or not there, one process at a time, a short name for anything"
import errno, json, os, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest, torch
from filelock import FileLock
from progrow import files
from progrow.files import atomic_folder, atomic_write, cache_folder, fingerprint, folder_lock, moved, write_json

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

# --- folders

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

def test_abandoned_folders_go_after_a_day(tmp_path):
    old,new,busy = (tmp_path/f'.unfinished-{o}-12ab' for o in ('old','new','busy'))
    for o in (old,new,busy): o.mkdir(); (o/'a').write_text('x')
    for o in (old/'a', old, busy): os.utime(o, (time.time()-2*86400,)*2)
    with atomic_folder(tmp_path/'set'): pass
    assert not old.exists() and new.exists() and busy.exists()

def test_age_of_a_vanished_folder(tmp_path): assert files._age(tmp_path/'gone')==0

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

# --- cache, fingerprints, progress, moved names

def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv('PROGROW_CACHE', raising=False)
    assert cache_folder()==cache_folder(True)==Path.home()/'.cache'/'progrow'
    monkeypatch.setenv('PROGROW_CACHE', '~/other')
    assert cache_folder()==Path.home()/'other' and cache_folder(tmp_path)==tmp_path and cache_folder('~/x')==Path.home()/'x'
    monkeypatch.setenv('PROGROW_CACHE', '')
    assert cache_folder()==Path.home()/'.cache'/'progrow'

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
