"""What a script measured, as a JSON file that says how it came about: settings (seeds among them), versions, machine, and the rows.

All scripts of this folder write their results here. A file is there whole or not at all, and a script that was stopped goes on: `kept` makes only what is missing."""
import json, os, platform, sys
from importlib.metadata import version
from pathlib import Path
from progrow.files import write_json

def processor():
    "Its name, as far as the system tells"
    if sys.platform=='linux':
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'): return line.split(':')[1].strip()
    return platform.processor() or platform.machine()

def machine(**more):
    "Where a script runs"
    return dict(processor=processor(), cores=os.cpu_count(), system=f'{platform.system()} {platform.machine()}', **more)

def versions(*packages): return {'python': platform.python_version(), **{p: version(p) for p in packages}}

def plain(x): return json.loads(json.dumps(x)) # as a file gives it back

def read(path):
    "What a results file holds; None where there is none"
    path = Path(path)
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else None

def write(path, settings, packages=(), on=None, **rows):
    "Write a results file. `packages`: whose versions count; `on`: more about the machine; `rows`: what was measured, by name"
    made = plain(dict(settings=settings, **rows, machine=machine(**(on or {})), versions=versions('progrow', 'torch', *packages)))
    write_json(path, made)
    return made

def kept(path, settings, make, packages=(), same=()):
    """The results in `path`, where they were made with these settings; else `make()` measures the rows, and they are written.

    `same`: what else must be as it is now for the old ones to count, of `'machine'` and `'versions'`."""
    now = dict(machine=lambda: plain(machine()), versions=lambda: versions('progrow', 'torch', *packages))
    found = read(path)
    if found and found['settings']==plain(settings) and all(found[k]==now[k]() for k in same): return found
    return write(path, settings, packages, **make())
