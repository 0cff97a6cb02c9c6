"What stands around the package: workflows, the form for reports, the citation, the changes. They name commands and versions that are there."
import configparser, re
import pytest, yaml
from helpers import root
from progrow import __version__
from progrow.commands import commands
import progrow.cli # its commands

def read(path): return yaml.safe_load((root/path).read_text(encoding='utf-8'))
def steps(job): return ' '.join(o.get('run', '')+o.get('uses', '') for o in job['steps'])
targets = re.findall(r'(?m)^([a-z-]+):', (root/'Makefile').read_text())

def asked_of_make(job):
    "Targets of a job, with those of its matrix"
    return set(re.findall(r'make ([a-z-]+)', steps(job))) | {o['make'] for o in job.get('strategy', {}).get('matrix', {}).get('include', ())}

def test_workflows_run_what_make_knows():
    for name in ('tests','pages'):
        workflow = read(f'.github/workflows/{name}.yml')
        assert set(workflow[True])>={'push','workflow_dispatch'} # YAML reads `on` as true
        for job in workflow['jobs'].values(): assert asked_of_make(job) and asked_of_make(job)<=set(targets) and job['timeout-minutes']

def test_tests_run_on_the_oldest_and_the_newest_python():
    job, = read('.github/workflows/tests.yml')['jobs'].values()
    ini = configparser.ConfigParser()
    ini.read(root/'settings.ini')
    end = int(re.search(r'(?m)^pythons = .*, (\d+)\)\]$', (root/'setup.py').read_text())[1])
    assert [o['python'] for o in job['strategy']['matrix']['include']]==[ini['DEFAULT']['min_python'], f'3.{end-1}']

def test_pages_are_built_and_published():
    job, = read('.github/workflows/pages.yml')['jobs'].values()
    assert 'make docs' in steps(job) and 'deploy-pages' in steps(job)

def test_a_report_is_asked_for_the_system():
    form = read('.github/ISSUE_TEMPLATE/fault.yml')
    system, = [o for o in form['body'] if o['id']=='system']
    assert '`progrow info --system`' in system['attributes']['description'] and system['validations']['required']
    assert {o['type'] for o in form['body']}=={'textarea'} and len({o['id'] for o in form['body']})==len(form['body'])

def test_the_citation_is_of_this_version_and_names_both_papers():
    cited = read('CITATION.cff')
    assert cited['cff-version']=='1.2.0' and cited['version']==__version__ and cited['license']=='Apache-2.0'
    assert {o['url'] for o in cited['references']}=={'https://arxiv.org/abs/1710.10196', 'https://arxiv.org/abs/1812.04948'}

def test_changes_name_commands_flags_and_pages_that_are_there():
    text = (root/'CHANGELOG.md').read_text(encoding='utf-8')
    assert f'## {__version__}' in text
    assert set(re.findall(r'`progrow ([a-z-]+)', text))<=set(commands)
    helps = ' '.join(progrow.commands.parser(f).format_help() for f in commands.values())
    assert [o for o in re.findall(r'--[a-z][a-z-]+', text) if o not in helps]==[]
    assert all((root/o).exists() for o in re.findall(r'\]\(([^)]+)\)', text))
