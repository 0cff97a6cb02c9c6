"""Two other ProGANs that a package index has, to be run beside ours: gan-lab and pro-gan-pth, each with its own networks and its own step.

They go into a folder of their own (runs/peers), without the old versions of PyTorch that they pin, so that all sides run the same
one. Nothing of them is part of this package. `shims` says all that is done to them; none of it is inside a step.
"""
import os, runpy, subprocess, sys, types, warnings
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from threading import Semaphore, Thread
from types import SimpleNamespace
import torch

packages = {'gan-lab':'0.4.2', 'pro-gan-pth':'3.4', 'indexed':'1.3.0'} # gan-lab needs the last one
shims = {
    'both': 'installed with --no-deps: they ask for releases of PyTorch and NumPy that today\'s Python does not have',
    'pro-gan-pth widths': 'the default arguments of its `nf` are set: its widths cannot be chosen, and are twice the official ones above 32x32',
    'pro-gan-pth Adam': 'its betas are (0., 0.99) in place of (0, 0.99), which today\'s PyTorch refuses',
    'pro-gan-pth padding': 'its transposed convolution gets the padding it was made with: it calls a method that now takes one argument more',
    'pro-gan-pth logs': 'an empty module in place of torch.utils.tensorboard, which it imports to write its logs',
    'gan-lab widths': 'FMAP_BASE and FMAP_MAX of its `base` modules are set: its widths cannot be chosen',
    'gan-lab settings': 'its config.py runs with a home folder aside; the settings of a data set, which it would read from there, are given',
    'gan-lab bars': 'its progress bar is off and its models are not saved',
    'gan-lab loop': 'its step is written inside its training loop: the loop runs as it is, and stands still where it asks for a batch'}

def install(folder=Path(__file__).parents[1]/'runs'/'peers'):
    "Install the peers aside, where they are not there yet, and make them importable"
    folder = Path(folder).resolve()
    have = [f'{name.replace("-", "_")}-{v}.dist-info' for name,v in packages.items()]
    if not all((folder/o).exists() for o in have):
        asked = [f'{name}=={v}' for name,v in packages.items()]
        subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', folder, *asked], check=True)
    for o in (folder, folder/'gan_lab'): # gan-lab imports its own modules as if its folder were the current one
        if str(o) not in sys.path: sys.path.append(str(o))
    sys.modules.setdefault('torch.utils.tensorboard', types.ModuleType('tensorboard')).SummaryWriter = None
    return folder

warnings.filterwarnings('ignore', module='progan|stylegan|resnetgan|utils|gan_lab|pro_gan|torch.optim') # of what is old in them

def quiet():
    "They print their networks and settings"
    return redirect_stdout(StringIO())

@contextmanager
def aside(folder):
    "A home folder of their own: gan-lab writes its settings there"
    old = {k:os.environ.get(k) for k in ('HOME','USERPROFILE')}
    os.environ.update({k:str(folder) for k in old})
    try: yield
    finally:
        for k,v in old.items():
            if v is None: del os.environ[k]
            else: os.environ[k] = v

# ---- pro-gan-pth

class ProGanPth:
    "pro-gan-pth: its networks, its two steps with its own Adam, its average"
    def __init__(self, resolution, latent_dim=512, fmap_base=2**14, fmap_max=512, rate=.003): # these are its own defaults
        install()
        with quiet():
            from pro_gan_pytorch import custom_layers, gan, losses, networks
            networks.nf.__defaults__ = fmap_base,1.,1,fmap_max
            custom_layers.EqualizedConvTranspose2d._output_padding = lambda self, *args: self.output_padding
            depth = resolution.bit_length()-1
            nets = networks.Generator(depth, latent_size=latent_dim), networks.Discriminator(depth, latent_size=latent_dim)
            self.gan,self.average = gan.ProGAN(*nets),gan.update_average
        self.opts = [torch.optim.Adam(net.parameters(), lr=rate, betas=(0.,.99), eps=1e-8) for net in nets]
        self.loss,self.latent_dim = losses.WganGP(),latent_dim

    def step(self, real, depth=None, alpha=1.):
        "As in the innermost loop of its `train`. `real` has full size: it makes the smaller pictures itself"
        g,(opt_g,opt_d) = self.gan,self.opts
        more = torch.randn(len(real), self.latent_dim),real,depth or g.depth,alpha
        g.optimize_discriminator(self.loss, opt_d, *more)
        self.average(g.gen_shadow, g.gen, beta=g.ema_beta)
        g.optimize_generator(self.loss, opt_g, *more)

    @torch.no_grad()
    def sample(self, z, depth=None, alpha=1.): return self.gan.gen_shadow(z, depth or self.gan.depth, alpha)

# ---- gan-lab

def gan_lab_settings(model, **options):
    "Its defaults for a model, by its own script, with changes"
    folder,argv = install(),sys.argv
    sys.argv = ['config.py', model, '--dev=cpu', '--pin_memory=False', *(f'--{k}={v}' for k,v in options.items() if v is not None)]
    try:
        with aside(folder), quiet():
            made = runpy.run_path(str(folder/'gan_lab'/'config.py'), run_name='__main__')['config']
    finally: sys.argv = argv
    for k,v in options.items():
        if v is None: setattr(made, k, None) # None has no word on its command line
    return made

class Batches:
    "What its `train` takes for a DataLoader: `draw(resolution, n)` makes each batch when it is asked for"
    def __init__(self, draw, learner, n_images=2**30):
        self.draw,self.learner = draw,learner
        self.batch_sampler = SimpleNamespace(batch_size=learner.batch_size)
        nothing = SimpleNamespace(transform=SimpleNamespace(transforms=[]))
        self.dataset = type('Images', (), dict(transforms=nothing, __len__=lambda self: n_images))()
    def __iter__(self): return self
    def __next__(self): return self.draw(self.learner.gen_model.curr_res, self.batch_sampler.batch_size),

class NoBar:
    "In place of its progress bar"
    def __init__(self, **kwargs): pass
    def update(self, n): pass
    def set_description(self, text): pass
    def close(self): pass

class Enough(Exception):
    "Ends a loop of gan-lab's from within"

class GanLab:
    "gan-lab: a learner of its own, whose `train` is its step"
    def __init__(self, resolution, latent_dim=512, fmap_base=8192, fmap_max=512, styled=False, start=4, batch_size=64,
                 images_per_phase=600000, **options): # these are its own defaults; more options are those of its config.py
        folder = install()
        if styled: options = dict(len_dlatent=latent_dim, cutoff_trunc_trick=min(4, resolution.bit_length()-3), **options)
        config = gan_lab_settings('stylegan' if styled else 'progan', len_latent=latent_dim, res_samples=resolution,
            res_dataset=resolution, init_res=start, batch_size=batch_size, nimg_transition=images_per_phase,
            num_iters_save_model=2**60, **options)
        with quiet():
            import progan.base, progan.learner, resnetgan.learner, stylegan.base, stylegan.learner
            from PIL import Image
            data = SimpleNamespace(ds_mean=[.5]*3, ds_std=[.5]*3, dataset_downsample_type=Image.BOX)
            for module in (resnetgan.learner, progan.learner, stylegan.learner):
                module.get_current_configuration = lambda *args, **kwargs: data
                module.tqdm,module.print = NoBar,lambda *args: None
            for base in (progan.base, stylegan.base): base.FMAP_BASE,base.FMAP_MAX = fmap_base,fmap_max
            learner = stylegan.learner.StyleGANLearner if styled else progan.learner.ProGANLearner
            self.learner = learner(config)
        self.learner.tot_num_epochs = 1 # only shown in its progress bar
        self.latent_dim = latent_dim

    def train(self, draw):
        "Run its loop until `draw(resolution, n)` raises `Enough`"
        try: self.learner.train(Batches(draw, self.learner), num_main_iters=2**60)
        except Enough: pass

    @torch.no_grad()
    def averaged(self):
        "Its averaged generator as it stands, in eval mode"
        self.learner._update_gen_lagged()
        self.learner.gen_model_lagged.eval()
        return self.learner.gen_model_lagged

class Turns:
    "A training loop that belongs to someone else, a step at a time: from one request for a batch to the next"
    def __init__(self, peer, real, fading=False):
        self.peer,self.real,self.fading = peer,real,fading
        self.go,self.done,self.over,self.error = Semaphore(0),Semaphore(0),False,None
        self.around,self.entered = nullcontext(),ExitStack()
        Thread(target=self._run, daemon=True).start()
        self._wait()
        if fading: self._begin_to_fade()

    def _begin_to_fade(self):
        "One step at half the size, of as many images as a phase has; then its own code grows, and alpha is put half-way"
        real,self.real = self.real,torch.nn.functional.avg_pool2d(self.real, 2)
        self.peer.learner.config.nimg_transition = 2**40
        self.step()
        self.real = real
        self.step()
        self.peer.learner.gen_model.alpha = .5

    def _run(self):
        try: self.peer.train(self._draw)
        except BaseException as e: self.error = e
        self.over = True
        self.done.release()

    def _draw(self, resolution, n): # asked for by the loop, in its thread
        self.entered.close()
        self.done.release()
        self.go.acquire()
        if self.over: raise Enough
        self.entered.enter_context(self.around)
        return self.real

    def _wait(self):
        self.done.acquire()
        if self.error: raise self.error

    def step(self, around=None):
        "One turn, under a context if one is given"
        self.around = around or nullcontext()
        self.go.release()
        self._wait()

    def close(self):
        self.over = True
        self.go.release()
