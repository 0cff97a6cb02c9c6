"One progress line: as wide as the terminal, plain in a file, on the error stream."
import os, re, struct, subprocess, sys
import pytest
from progrow import progress
from progrow.progress import Progress, clock, fit_line, how_to_show, one_ahead, with_progress

def in_terminal(code, columns):
    "What a program writes to its error stream where that is a terminal, and what to its output"
    import fcntl, pty, termios
    ours,theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
    p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    said = b''
    try:
        while got := os.read(ours, 4096): said += got
    except OSError: pass # the other end is closed
    out,_ = p.communicate(timeout=120)
    os.close(ours)
    assert p.returncode==0, said
    return said.decode(),out.decode()

count = "import time; from progrow.progress import with_progress\nfor i in with_progress(range(12), 12345): time.sleep(.11)"

@pytest.mark.skipif(os.name!='posix', reason='terminals of POSIX')
@pytest.mark.parametrize('columns', [40, 80, 132])
def test_in_a_terminal_it_is_one_line_of_its_width(columns):
    said,out = in_terminal(count, columns)
    assert not out and '\n' not in said
    updates = [o for o in said.split('\r') if o.strip()]
    assert len(updates)>=10 and {len(o) for o in updates}=={columns-1} or columns==40
    assert max(map(len, updates))<columns and '12,345 pictures' in said and ('####' in said or columns==40)
    assert not said.split('\r')[-2].strip() # and then it is wiped away

@pytest.mark.skipif(os.name!='posix', reason='terminals of POSIX')
@pytest.mark.parametrize('columns', [80, 100])
def test_training_fits_the_terminal(columns):
    code = '''from progrow.train import fit_progressive
from progrow.schedule import GrowthSchedule
few = GrowthSchedule(8, stabilize_kimg=.3, fade_kimg=.3, batch_size=16)
fit_progressive('digits', schedule=few, latent_dim=8, fmap_base=32, device='cpu')'''
    said,out = in_terminal(code, columns)
    updates = [o for o in said.split('\r') if o.strip()]
    assert not out and len(updates)>3 and max(map(len, updates))<columns, said
    for o in ('4x4 stabilize', '8x8 fade alpha 0.', ' images/s, 0:', ' so far, 0:', ' left'): assert o in said

def test_a_line_is_never_wider_than_its_terminal():
    said = '1024x1024 stabilize, 12 steps skipped','1234 images/s, 12:34:56 so far, 123:45:56 left'
    for columns in range(10, 200):
        for share in (0, .5, 1): assert len(fit_line(said[0], share, said[1], columns))<columns

def test_a_file_gets_few_lines(capsys):
    say = Progress(1000, 'lines', every=0)
    for i in range(1000): say(i+1, 'reading')
    out,err = capsys.readouterr()
    assert not out and len(err.splitlines())==10 and '\r' not in err
    assert all(re.fullmatch(r'reading, \d+0%, \d+:\d\d so far, \d+:\d\d left', o) for o in err.splitlines())

def test_what_is_quick_says_nothing_to_a_file(capsys):
    assert list(with_progress(range(1000), 1000))==list(range(1000))
    assert capsys.readouterr()==('', '')

def test_lines_wait(capsys, monkeypatch):
    now = [0.]
    monkeypatch.setattr(progress, 'monotonic', lambda: now[0])
    say = Progress(100, 'lines')
    for i in range(100): now[0] += 2; say(i+1, 'reading') # 200 seconds in all: a tenth takes 20
    assert len(said := capsys.readouterr().err.splitlines())==10
    assert said[4]=='reading, 50%, 1:40 so far, 1:40 left'

def test_more_than_all_is_all(capsys):
    Progress(600, 'lines')(608, 'training', line=True)
    assert capsys.readouterr().err=='training, 100%, 0:00 so far, 0:00 left\n'

def test_nothing_is_nothing(capsys):
    say = Progress(2, 'nothing')
    say(1, line=True); say(2); say.close()
    assert capsys.readouterr()==('', '')

def test_a_notebook_gets_an_element_in_one_place(monkeypatch):
    import IPython.display as ipd
    shown = []
    class Place:
        def update(self, o, raw=False): shown.append(o if raw else o.data)
    monkeypatch.setattr(progress, 'IN_NOTEBOOK', True)
    monkeypatch.setattr(ipd, 'display', lambda o, display_id: shown.append(o.data) or Place())
    say = Progress(2)
    say(1, '<8x8>'); say(2, '<8x8>'); say.close()
    assert shown[0].startswith('<progress value="0.500"></progress> &lt;8x8&gt;, 50%, ') and shown[1].startswith('<progress value="1.000">')
    assert shown[-1]=={'text/plain':''} # nothing stays in the file

def test_words(): assert clock(7384)=='2:03:04' and how_to_show()=='lines' # here, the error stream is no terminal

def test_progress_from_1000_pictures_on():
    steps = range(3)
    assert with_progress(steps, 999) is steps and with_progress(steps, 10**6, progress=False) is steps
    for bar in (with_progress(steps, 1000), with_progress(steps, 1, progress=True)): assert bar is not steps and list(bar)==[0,1,2]
    from progrow import files
    assert files.with_progress is with_progress # where it was

# --- the next one, meanwhile

def test_one_is_made_ahead_in_another_thread_and_no_more():
    from threading import Event, get_ident
    begun,second,threads = [],Event(),set()
    def make(i):
        begun.append(i); threads.add(get_ident())
        if i==1: second.set()
        return i*i
    made = one_ahead(make, range(5))
    assert next(made)==0 and second.wait(5) and begun==[0,1]
    assert [*made]==[1,4,9,16] and begun==[*range(5)] and get_ident() not in threads

def test_an_error_comes_when_it_is_its_turn_and_whoever_leaves_early_leaves_no_thread():
    import threading
    def make(i):
        if i==2: raise OSError('gone')
        return i
    made,before = one_ahead(make, range(5)),threading.active_count()
    assert [next(made), next(made)]==[0,1]
    with pytest.raises(OSError, match='gone'): next(made)
    made = one_ahead(make, range(5)); next(made); made.close()
    assert threading.active_count()==before
