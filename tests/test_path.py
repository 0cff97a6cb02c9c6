"The reader's path: the sidebar holds every page, pages name the one after them, and words of the game are explained before they are used."
import json, re
import pytest, yaml
from helpers import root

nbs,game = root/'nbs','01_two_players.ipynb'
pages = sorted(p.name for p in nbs.glob('*.ipynb'))
words = re.compile(r'\b(critics?|discriminators?|generators?|latent)\b', re.I)

def listed(contents):
    "The pages of a part of the sidebar, in order"
    for o in contents: yield from [o] if isinstance(o, str) else listed(o['contents'])

sidebar = yaml.safe_load((nbs/'sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
order = list(listed(sidebar))
tracks = {o['section']: list(listed(o['contents'])) for o in sidebar if isinstance(o, dict)}
after = dict(zip(order, order[1:]))

def markdown(page):
    cells = json.loads((nbs/page).read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type']=='markdown']

def next_line(page): return [l for l in markdown(page)[-1].splitlines() if l.startswith('**Next:**')]

def test_the_sidebar_holds_every_page_once():
    assert sorted(order)==pages, f'in nbs/sidebar.yml: missing {sorted({*pages}-{*order})}, too many {sorted({*order}-{*pages})}'

def test_there_is_a_track_to_learn_and_one_to_look_up():
    assert list(tracks)==['Learn','Look up'] and order[0]=='index.ipynb'
    assert tracks['Learn'][:4]==['00_quickstart.ipynb', game, '02_why_grow.ipynb', '31_losses.ipynb']

@pytest.mark.parametrize('page', [p for p in pages if p[0].isdigit()])
def test_next_is_the_page_that_the_sidebar_has_next(page):
    lines,follows = next_line(page),after.get(page, 'index.ipynb')
    links = re.findall(r'\]\(([^)#\s]+)', ''.join(lines))
    assert len(lines)==1 and links==[follows], f'{page} should end in one line: **Next:** …, [title]({follows})'

def first_use(cells):
    "The first text below the title with a word of the game in it"
    return next((s for s in cells[1:] if words.search(re.sub(r'`[^`]*`|\]\([^)]*\)', '', s))), None)

@pytest.mark.parametrize('page', [p for p in tracks['Learn'] if p!=game])
def test_a_page_to_learn_from_explains_the_words_of_the_game_where_they_come_first(page):
    use = first_use(markdown(page))
    assert use is None or game in use, f'link the first of {words.pattern} to {game}#two-players in: {use[:200]}'

def test_first_use_is_found():
    assert first_use(['# A generator', 'no word', '`generator` [x](latent.html)', 'two Critics'])=='two Critics' and first_use(['# t', 'n']) is None

def test_the_words_are_explained_where_links_lead():
    text = '\n'.join(markdown(game))
    assert '\n## Two players\n' in text
    for word in ('latent vector','generator','fake','discriminator','critic','step','kimg','generative adversarial network'): assert f'**{word}**' in text, word

def test_the_game_is_forty_lines_at_most():
    cells = json.loads((nbs/game).read_text(encoding='utf-8'))['cells']
    play = next(s for s in (''.join(c['source']) for c in cells) if s.startswith('def play('))
    assert 20<len(play.splitlines())<=40

# --- for teachers, and for those who learn alone

no_lessons = ('62_summary','91_ablations','92_growing','93_thousand_modes','94_losses_compared','95_style_tables','95_judges','96_escalation','97_before_and_after')
evidence = {f'{o}.ipynb' for o in no_lessons} # runs, a sheet and a story
lessons = [p for p in tracks['Learn'] if p not in evidence]

def cells_of(page): return json.loads((nbs/page).read_text(encoding='utf-8'))['cells']

@pytest.mark.parametrize('page', lessons)
def test_a_lesson_has_exercises_whose_folded_answers_were_run(page):
    text = '\n'.join(markdown(page))
    assert len(re.findall(r'(?m)^[1-9]\. ', text.split('\n## Try it\n')[1]))>=2
    cells = cells_of(page)
    at = next(i for i,c in enumerate(cells) if '## The answers, run' in ''.join(c['source']))
    opened,run,closed = (''.join(c['source']) for c in cells[at:at+3])
    assert opened.startswith('::: {.callout-tip collapse="true"}') and closed.startswith(':::')
    assert cells[at+1]['outputs'] and re.search(r'\b(test_\w+\(|assert )', run)

@pytest.mark.parametrize('page', lessons)
def test_a_lesson_says_how_to_teach_it_in_five_lines(page):
    box = '\n'.join(markdown(page)).split('## In front of a class\n')
    assert len(box)==2 and len(re.findall(r'(?m)^- \*\*', box[1].split(':::')[0]))==5

@pytest.mark.parametrize('page', lessons)
def test_a_lesson_leaves_its_messages_to_the_page_that_lists_them(page):
    shown = [s for c in cells_of(page) if c['cell_type']=='code' and not re.match(r'#\|\s*hide', s := ''.join(c['source']))]
    assert max(s.count('expect_fail(') for s in shown)<=3
    if any('expect_fail(' in ''.join(c['source']) for c in cells_of(page)): assert '84_complaints.ipynb#' in '\n'.join(markdown(page))

def test_messages_are_listed_once_by_what_was_done():
    tables = [''.join(o['data'].get('text/html', '')) for c in cells_of('84_complaints.ipynb') for o in c.get('outputs', ()) if 'data' in o]
    done = [what for t in tables for what in re.findall(r'<tr><td>(.*?)</td>', t)]
    assert len(done)>=50 and len(set(done))==len(done)

def test_the_summary_is_one_sheet_with_an_equation_for_each_part():
    sheet = markdown('62_summary.ipynb')[1]
    assert sheet.startswith('::: {.pg-one-page}') and sheet.count('$$')>=12
    assert markdown('62_summary.ipynb')[2]==':::'
    assert all(p in sheet for p in lessons if p not in ('00_quickstart.ipynb','70_explore.ipynb'))
