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
    assert tracks['Learn'][:3]==['00_quickstart.ipynb', game, '31_losses.ipynb']

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
