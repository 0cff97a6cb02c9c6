"Read something under watch: what it executes, opens to write, how long it takes, how much memory it takes. For Linux, in a process of its own."
import ast, dis, os, resource, signal, sys, threading
from contextlib import contextmanager
from pathlib import Path
import progrow

memory = 2**30 # bytes that the process may grow by while it reads a small file; it may ask for twice as many

class Executed(BaseException): "Something was done that no reader does"
class TooLong(BaseException): "A reader does not come back"

# --- what is done

never = ('subprocess.', 'os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.fork', 'os.kill', 'os.putenv', 'os.chdir', 'pty.', 'socket.', 'ctypes.', 'urllib.', 'http.', 'ftplib.', 'smtplib.',
         'webbrowser.', 'pickle.find_class', 'code.__new__', 'builtins.breakpoint', 'cpython.run', 'sys.setprofile', 'sys.settrace')
paths = {'os.mkdir':1, 'os.remove':1, 'os.rmdir':1, 'os.truncate':1, 'os.chmod':1, 'os.chown':1, 'os.utime':1, 'os.rename':2, 'os.link':2, 'os.symlink':2, 'os.setxattr':1,
         'shutil.rmtree':1, 'shutil.move':2, 'shutil.copyfile':2, 'shutil.copytree':2, 'shutil.make_archive':1, 'shutil.unpack_archive':2, 'tempfile.mkstemp':1, 'tempfile.mkdtemp':1}

class Watch:
    "An audit hook, which can never be taken away again, and what it has seen"
    def __init__(self):
        self.folder,self.seen,self.known,self.mine = None,[],(),threading.local()
        sys.addaudithook(self.look)
    def look(self, event, args):
        if self.folder is None or getattr(self.mine, 'busy', False): return
        self.mine.busy = True
        try: what = self.forbidden(event, args)
        finally: self.mine.busy = False
        if what: self.seen.append(what); raise Executed(what)
    def forbidden(self, event, args):
        "What is wrong with an event, or None"
        if event.startswith(never): return f'{event} {str(args)[:200]}'
        if event=='import' and (root := args[0].split('.')[0]) not in self.known and not calls_are_from(ours=False): return f'import of {args[0]} ({root})'
        if event in ('exec','compile','marshal.loads') and not calls_are_from(event=='compile'): return f'{event} of {str(args)[:200]}'
        if event=='open' and isinstance(args[0], (str,bytes)) and args[2] & (os.O_WRONLY|os.O_RDWR|os.O_CREAT|os.O_TRUNC|os.O_APPEND): return self.outside(event, args[0])
        for i in range(paths.get(event, 0)):
            fd = args[-1] if event.startswith('os.') and isinstance(args[-1], int) else -1
            if what := self.outside(event, args[i], fd): return what
    def outside(self, event, path, fd=-1):
        if isinstance(path, int) or path is None: return None
        path = os.fsdecode(path)
        if fd>=0 and not os.path.isabs(path): path = os.path.join(os.readlink(f'/proc/self/fd/{fd}'), path)
        real = os.path.join(os.path.realpath(os.path.dirname(path) or '.'), os.path.basename(path)) # of a link, the link itself ...
        if event=='open': real = os.path.realpath(path) # ... unless it is followed
        if not (real+os.sep).startswith(self.folder+os.sep): return f'{event} of {real}, outside of {self.folder}'

def calls_are_from(parser=False, ours=True):
    "Is this a part of an import, or `ast.parse`, which makes no code?"
    f = sys._getframe(2)
    if parser and any(sys._getframe(k).f_code.co_filename==ast.__file__ for k in (3, 4)): return True
    while ours and f:
        if f.f_code.co_filename.startswith('<frozen importlib'): return True
        f = f.f_back
    return False

# --- how long, and how much

def status(key):
    "Bytes, out of what Linux says of this process"
    with open('/proc/self/status') as f: return next(1024*int(l.split()[1]) for l in f if l.startswith(key+':'))

@contextmanager
def limits(seconds):
    "Raise `TooLong` after so many, and again every second; gives a dict, which then holds `grown`, in bytes"
    def late(*_): raise TooLong(f'no answer after {seconds:g} s')
    old,found = signal.signal(signal.SIGALRM, late),{}
    with open('/proc/self/clear_refs', 'w') as f: f.write('5') # a new peak
    before,hard = status('VmRSS'),resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (status('VmSize')+2*memory, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.)
    try: yield found
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        found['grown'] = status('VmHWM')-before
        signal.signal(signal.SIGALRM, old)

# --- what is said

package = str(Path(progrow.__file__).parent)

def chain(e):
    "An error, and those that it came from"
    while e: yield e; e = e.__cause__ or e.__context__

def frames(e):
    "From the caller to where it was raised"
    tb,found = e.__traceback__,[]
    while tb: found.append(tb); tb = tb.tb_next
    return found

def where(e):
    "The last place of ours that an error came by"
    ours = [tb for tb in frames(e) if tb.tb_frame.f_code.co_filename.startswith(package)]
    return f'{Path(ours[-1].tb_frame.f_code.co_filename).stem}.{ours[-1].tb_frame.f_code.co_name}' if ours else 'nowhere'

def is_ours(e):
    "Was it raised by a `raise` of this package? (Not by Python or a library that was called there)"
    last = frames(e)[-1]
    code = last.tb_frame.f_code
    return code.co_filename.startswith(package) and code.co_code[last.tb_lasti]==dis.opmap['RAISE_VARARGS']

def asked_too_much(e): return any(isinstance(o, MemoryError) or isinstance(o, RuntimeError) and 'allocate memory' in str(o) for o in chain(e))

def complaint(e, documented, names):
    "What is wrong with an error, or None: its type is documented, its sentence is ours, and names the file"
    text = str(e)
    if asked_too_much(e): return 'too much memory'
    if type(e) not in documented and not (isinstance(e, documented) and type(e).__module__.startswith('progrow.')): return 'not documented'
    if not is_ours(e): return 'no sentence of ours'
    if len(text.split())<8: return 'no sentence'
    if not any(o in text for o in names): return 'names no file'
    if ' object at 0x' in text: return 'says where something lies in the memory'
