"Fixtures of many tests: golden files by name, a cache folder of the test's own."
import os, signal
os.environ.setdefault('ONEDNN_MAX_CPU_ISA', 'AVX512_CORE_BF16') # oneDNN's kernels for AMX give wrong gradients in bf16
import pytest
from golden_files import golden_file

@pytest.fixture(scope='session')
def golden(): return golden_file

@pytest.fixture
def cache(tmp_path, monkeypatch):
    "A cache folder that nothing else uses"
    monkeypatch.setenv('PROGROW_CACHE', str(tmp_path/'cache'))
    return tmp_path/'cache'

@pytest.fixture(scope='session', autouse=True)
def signals():
    "A job in the background, or under nohup, ignores Ctrl-C or a closed terminal, and so would all that it starts"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ('SIGTERM','SIGHUP'):
        if hasattr(signal, name): signal.signal(getattr(signal, name), signal.SIG_DFL)
