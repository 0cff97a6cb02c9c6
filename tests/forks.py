"Runs in processes of their own, to be killed. One helper imports everything once, and forks a child for each order: a line of JSON on its input."
import json, os, select, signal, subprocess, sys, time
from pathlib import Path

class Forks:
    "The test's end: one child at a time"
    def __init__(self):
        self.heard,ear = os.pipe()
        env = {**os.environ, 'OMP_NUM_THREADS':'1', 'MPLBACKEND':'agg', 'FORKS_EAR':str(ear)}
        self.helper = subprocess.Popen([sys.executable, '-W', 'ignore', __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[ear], env=env)
        os.close(ear)
    def ask(self, **order):
        self.helper.stdin.write(json.dumps(order)+'\n'); self.helper.stdin.flush()
        return json.loads(self.helper.stdout.readline())
    def start(self, folder, **job):
        "A child that trains in `folder`"
        folder.mkdir(parents=True, exist_ok=True)
        self.out = folder/'out.txt'
        self.pid = self.ask(folder=str(folder), **job)
    def listen(self, seconds=60.):
        "The next thing that the child says: b(egin to train), . (a step is done), ( and ) around a save, s(low step), x (the end); '' if none came in time"
        return os.read(self.heard, 1).decode() if select.select([self.heard], [], [], seconds)[0] else ''
    def until(self, what, times=1):
        "Listen until it has said this so many times, or ended"
        said = ''
        while said.count(what)<times and 'x' not in said:
            said += (c := self.listen())
            assert c, f'the child is silent after {said!r}: {self.out.read_text()}'
        return said
    def end(self, sig=None):
        "Send a signal, wait, and give the exit code and what the child had said meanwhile"
        if sig: os.kill(self.pid, sig)
        code,said = self.ask(wait=self.pid),''
        while c := self.listen(0): said += c
        return code,said
    def run(self, folder, **job):
        self.start(folder, **job); self.until('x'); code,_ = self.end()
        assert code==0, self.out.read_text()
    def close(self): self.helper.stdin.close(); self.helper.wait(); os.close(self.heard)

def train(folder, stop_full=None, slow=None, path='run', **kwargs):
    "What a child does"
    import resource, warnings, progrow.learner
    from fastai.callback.core import Callback
    from progrow.train import fit_progressive
    from runs import long, noise
    warnings.simplefilter('always', UserWarning)
    ear = int(os.environ['FORKS_EAR'])
    say = lambda c: os.write(ear, c.encode())
    class Tell(Callback):
        order,n = 95,0 # after `Checkpoints`
        def before_fit(self): say('b')
        def after_backward(self):
            if self.n==slow: say('s'); time.sleep(100)
        def after_batch(self):
            self.n += 1
            if stop_full: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if stop_full[0]<=self.n<stop_full[1] else resource.RLIM_INFINITY, resource.RLIM_INFINITY)) # no file may be longer: a full disk
            say('.')
    save = progrow.learner.save_checkpoint
    def told(*args):
        say('(')
        try: return save(*args)
        finally: say(')')
    progrow.learner.save_checkpoint = told
    fit_progressive(noise(resolution=8), path=path, cbs=[Tell()], **{**long, **kwargs})

def child(order):
    "Like a script of Python: its output, and its exit code"
    folder,code = order.pop('folder'),0
    os.chdir(folder)
    out = os.open('out.txt', os.O_WRONLY|os.O_CREAT|os.O_TRUNC)
    os.dup2(out, 1); os.dup2(out, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try: train(folder, **order)
    except SystemExit as e: code = e.code
    except KeyboardInterrupt: code = 130
    except BaseException as e: code = 1; import traceback; traceback.print_exc()
    sys.stdout.flush(); sys.stderr.flush()
    os.write(int(os.environ['FORKS_EAR']), b'x')
    os._exit(code)

if __name__=='__main__':
    signal.signal(signal.SIGINT, signal.SIG_IGN) # Ctrl-C in a terminal is for pytest
    from contextlib import redirect_stdout
    with redirect_stdout(sys.stderr):
        import torch, runs
        torch.optim.Adam([torch.zeros(1, requires_grad=True)]) # the first one imports half of PyTorch
    for line in sys.stdin:
        order = json.loads(line)
        if 'wait' in order: print(os.waitstatus_to_exitcode(os.waitpid(order['wait'], 0)[1]), flush=True)
        elif pid := os.fork(): print(pid, flush=True)
        else: child(order)
