"Packaging for progrow. Every value comes from settings.ini: edit that file, not this one."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_namespace_packages

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

needed = 'lib_name version description author author_email license keywords audience language status min_python requirements git_url'.split()
missing = [k for k in needed if not cfg.get(k)]
if missing: raise SystemExit(f"{here/'settings.ini'} has no value for: {', '.join(missing)}")

lib = cfg['lib_name']
licences = {'apache2': 'Apache-2.0', 'mit': 'MIT', 'bsd3': 'BSD-3-Clause'}
stages = ['', '1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable']
def description():
    "README.md with links that work anywhere: a package index knows nothing of the files beside it"
    text,there = (here/'README.md').read_text(encoding='utf-8'),cfg['git_url']
    text = re.sub(r'(!\[[^\]]*\]\()(?![\w+]+:|#)', rf'\1{there}/raw/{cfg["branch"]}/', text) # pictures
    return re.sub(r'((?<!!)\[[^\]]*\]\(|(?:src|srcset|href)=")(?![\w+]+:|#)', rf'\1{there}/blob/{cfg["branch"]}/', text)

pythons = [f'3.{n}' for n in range(int(cfg['min_python'].split('.')[1]), 14)]

setup(
    name=lib, version=cfg['version'], description=cfg['description'],
    long_description=description(), long_description_content_type='text/markdown',
    author=cfg['author'], author_email=cfg['author_email'], license=licences[cfg['license']], keywords=cfg['keywords'], url=cfg['git_url'],
    packages=find_namespace_packages(include=[lib, f'{lib}.*'], exclude=['*.__pycache__']), include_package_data=True, zip_safe=False,  # MANIFEST.in says which data
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(), extras_require={k: cfg.get(f'{k}_requirements', '').split() for k in ('dev','video','metrics','lite','onnx','lmdb')},
    entry_points={'nbdev': [f'{lib}={lib}._modidx:d'],  # lets nbdev link names to our pages
                  'console_scripts': cfg.get('console_scripts', '').split()},
    classifiers=[f"Development Status :: {stages[int(cfg['status'])]}", f"Intended Audience :: {cfg['audience']}",
                 f"Natural Language :: {cfg['language']}", *(f'Programming Language :: Python :: {v}' for v in ('3', *pythons))])
