"The growth schedule against the official one, and against the mistakes that others reported."
import copy, dataclasses, pickle, subprocess, sys
import numpy as np, pytest
from progrow.schedule import GrowthSchedule, GrowthState, Phase, official_batches, official_ticks, value_at

S = GrowthSchedule
named = GrowthSchedule.named

# --- every row of the official schedules

lr_styles = {4:.001, 128:.0015, 256:.002, 512:.003}
sg_ticks = {**official_ticks, 512:30, 1024:20}
official = {
    'training_schedule': dict(
        default_1024_600_600=S(1024, fade_kimg=600, stabilize_kimg=600),
        celebahq_1gpu_v1=named('paper', 1024),
        celebahq_1gpu_v2=named('official', 1024),
        small_32_100_50=S(32, stabilize_kimg=100, fade_kimg=50, batch_size={4:64, 8:32, 16:16}),
        no_transition_32=S(32, stabilize_kimg=100, fade_kimg=0),
        start8_64=S(64, start_resolution=8, fade_kimg=600, stabilize_kimg=600)),
    'training_schedule_stylegan': dict(
        default_1024=S(1024, fade_kimg=600, stabilize_kimg=600),
        ffhq_1gpu=named('stylegan', 1024),
        fixed_small=S(64, start_resolution=8, fade_kimg=300, stabilize_kimg=300))}

@pytest.mark.parametrize('file', official)
def test_every_golden_row(golden, file):
    data = golden(file)
    assert list(data['columns']) == 'kimg lod resolution minibatch G_lrate D_lrate tick_kimg'.split()
    tables = {k for k,v in data.items() if v.ndim==2}
    assert tables == set(official[file]), 'a golden configuration is not tested'
    ticks = sg_ticks if 'stylegan' in file else official_ticks
    for name,schedule in official[file].items():
        for kimg,lod,res,batch,lr_g,lr_d,tick in data[name]:
            n = round(kimg*1000)
            s = schedule(n)
            assert (s.resolution, s.batch_size, s.learning_rate, s.learning_rate) == (res, batch, lr_g, lr_d), (name, kimg)
            assert schedule.lod(n) == pytest.approx(lod, abs=1e-12), (name, kimg)
            assert value_at(ticks, s.resolution) == tick

# --- facts about published runs

@pytest.mark.parametrize('phase,kimg,lod,res', [
    *((600,*o) for o in ((0,8,4), (600,8,4), (700,7+5/6,8), (900,7.5,8), (1200,7,8), (1800,7,8), (2100,6.5,16), (8400,1,512), (9300,.5,1024), (9600,0,1024))),
    *((800,*o) for o in ((1200,7.5,8), (1600,7,8), (12000,1,512), (12800,0,1024)))])
def test_published_moments(phase, kimg, lod, res):
    s = S(1024, fade_kimg=phase, stabilize_kimg=phase)
    assert s.lod(kimg*1000) == pytest.approx(lod, abs=1e-12) and s(kimg*1000).resolution == res

@pytest.mark.parametrize('kimg,lod,res', [(600,7,8), (900,6.5,16), (8400,0,1024)])
def test_published_moments_stylegan(kimg, lod, res):
    s = named('stylegan', 1024)
    assert s.lod(kimg*1000) == pytest.approx(lod, abs=1e-12) and s(kimg*1000).resolution == res

@pytest.mark.parametrize('name,gpus,steps', [('paper',1,3_264_280), ('official',1,1_354_672), ('official',8,277_728), ('stylegan',8,717_968), ('stylegan',1,4_895_300)])
def test_published_iterations(name, gpus, steps): assert named(name, 1024, gpus=gpus).steps(every=4) == steps

def test_three_quarters_of_the_steps_are_at_512_and_up():
    t = named('official', 1024).table()
    assert t[t.resolution>=512].steps.sum()/t.steps.sum() == pytest.approx(.775, abs=.001) # "75%" in round numbers

def test_optimizer_resets(): assert (len(S(1024).state_changes()), len(S(1024, start_resolution=8).state_changes())) == (17, 15)

@pytest.mark.parametrize('gpus', [1,2,4,8])
def test_named_tables_by_gpus(gpus):
    facts = {1: ([128,128,128,64,32,16,8,4,4], [1,1,1,1,1,1,1,1,1.5]), 2: ([256,256,128,64,32,16,8,8,8], [1,1,1,1,1,1,1,1.5,2]),
             4: ([512,256,128,64,32,16,16,16,16], [1,1,1,1,1,1,1.5,2,3]), 8: ([512,256,128,64,32,32,32,32,32], [1,1,1,1,1,1.5,2,3,3])}[gpus]
    t = named('official', 1024, gpus=gpus).table().drop_duplicates('resolution')
    assert t.batch.tolist() == facts[0] and t.learning_rate.tolist() == pytest.approx([.001*o for o in facts[1]])
    t = named('stylegan', 1024, gpus=gpus).table().drop_duplicates('resolution')
    assert t.batch.tolist() == facts[0][1:] and t.learning_rate.tolist() == pytest.approx([.001]*4 + [.0015,.002,.003,.003])

@pytest.mark.parametrize('name,kimg', [('paper',19000), ('official',12000), ('stylegan',25000)])
@pytest.mark.parametrize('resolution', [8, 64, 1024])
def test_the_published_total_stays_at_every_resolution(name, kimg, resolution):
    s = named(name, resolution)
    assert s.total_images == kimg*1000 and s.phases[-1][:2] == ('stabilize', resolution)

def test_overrides(): assert named('minutes', 16, batch_size=4, total_kimg=1).total_images == 1000

# --- how often a loop looks

def looks(s, every):
    n = 0
    while n<s.total_images:
        yield n
        n += every*s(n).batch_size

@pytest.mark.parametrize('name', official['training_schedule'])
def test_the_official_loop_trains_what_its_last_look_said(golden, name):
    "At each golden row, a loop with minibatch_repeats=4 has the row's state, or the one before a border just passed"
    rows,s = golden('training_schedule')[name],official['training_schedule'][name]
    seen = np.array(list(looks(s, 4)))
    late = exact = 0
    for kimg,lod,res,batch,*_ in rows[rows[:,0]*1000<s.total_images]:
        n = round(kimg*1000)
        look = int(seen[seen<=n].max())
        exact += look==n and (s(look).resolution, s(look).batch_size, s.lod(look))==(res, batch, pytest.approx(lod))
        late += s(look).resolution!=res
        assert n-look < 4*s(look).batch_size
        lag = 1 if name=='no_transition_32' else 4*s(look).batch_size/50_000 # octaves: the shortest fade takes 50 kimg
        assert s(look).resolution in (res, res//2) and 0 <= s.lod(look)-lod <= lag
    assert exact>=1, 'some rows fall on a look'
    assert late<=3 and (late or 'default' not in name), 'late only right after a border (the row of 600.001 kimg)'

def test_eight_pixels_come_four_batches_late_in_the_official_loop(golden):
    rows = golden('training_schedule')['default_1024_600_600']
    s = official['training_schedule']['default_1024_600_600']
    border,after = rows[rows[:,0]==600][0],rows[rows[:,0]==600.001][0]
    assert (border[2], after[2]) == (4, 8), 'the official state at exactly 600 kimg is the old one'
    assert next(n for n in looks(s, 4) if s(n).resolution==8) == 600_000+4*16
    assert next(n for n in looks(s, 1) if s.next_batch(n).resolution==8) == 600_000

@pytest.mark.parametrize('name,gpus', [('paper',1), ('official',2), ('official',8), ('stylegan',4)])
@pytest.mark.parametrize('every', [1, 4])
def test_steps_are_those_of_the_named_loops(name, gpus, every):
    s = named(name, 32, gpus=gpus, total_kimg=6000)
    assert s.steps(every) == every*sum(1 for _ in looks(s, every))

# --- what is there, and what is left

def test_full_resolution_is_the_largest_that_nothing_fades_in():
    s = S(16, fade_kimg=1, stabilize_kimg=1)
    got = {n:s.next_batch(n).full_resolution for n in (0, 999, 1000, 1001, 1999, 2000, 3000, 3999, 4000, 9999)}
    assert got == {0:4, 999:4, 1000:4, 1001:4, 1999:4, 2000:8, 3000:8, 3999:8, 4000:16, 9999:16}
    for n in range(0, 5001, 7): assert s(n).full_resolution == s.next_batch(n).full_resolution, 'both views agree'

def test_images_left_counts_every_image_once():
    s = S(16, fade_kimg={8:1, 16:2}, stabilize_kimg=1)
    for n in (0, 1, 999, 1000, 2500, 5999, 6000, 7000):
        left = s.images_left(n)
        assert sum(left.values()) == max(0, s.total_images-n) and 0 not in left.values()
        assert left == {r:k for r in (4,8,16) if (k := sum(s.next_batch(i).resolution==r for i in range(n, 6000)))}

def test_images_left_is_what_callbacks_tell():
    from progrow.callbacks import images_left
    s = named('minutes', 32)
    assert images_left(s, 9_000) == s.images_left(9_000)

def test_full_resolution_is_no_field(): # checkpoints and settings hold the fields
    assert GrowthState._fields == ('resolution', 'alpha', 'batch_size', 'learning_rate', 'phase')
    assert [f.name for f in dataclasses.fields(S)] == ['resolution', 'start_resolution', 'fade_kimg', 'stabilize_kimg',
                                                       'batch_size', 'learning_rate', 'total_kimg']

# --- mistakes that others reported

def test_rosinality_23_the_start_resolution_trains_before_anything_fades():
    s = S(16, fade_kimg=600, stabilize_kimg=600)
    assert all(s(n) == (4, 1., 16, .001, 'stabilize') for n in range(0, 600_001, 1000))
    assert [p.phase for p in s.phases] == ['stabilize', 'fade', 'stabilize', 'fade', 'stabilize']
    s = S(64, start_resolution=8)
    assert s(0) == (8, 1., 16, .001, 'stabilize'), 'and the first one is never blended with a lower one'

def test_rosinality_106_the_start_resolution_is_not_trained_twice_as_long():
    assert S(16, fade_kimg=600, stabilize_kimg=600, start_resolution=8).phases[0] == ('stabilize', 8, 0, 600_000)

def test_rosinality_117_what_step_and_alpha_mean():
    s = S(16)(900_000)
    assert s._fields == ('resolution', 'alpha', 'batch_size', 'learning_rate', 'phase')
    assert s.resolution == 8 and s.alpha == .125, 'pixels, not a step number; weight of the new block, not of the old'

def test_akanimax_2_alpha_is_no_whole_number():
    s = S(8, fade_kimg=1, stabilize_kimg=1, batch_size=10)
    alphas = [s.next_batch(n).alpha for n in range(1000, 2000, 10)]
    assert len(set(alphas)) == 100 and np.allclose(np.diff(alphas), .01)

def test_gapeng000_20_the_level_moves_and_never_runs_past_the_end():
    s = S(32, fade_kimg=3, stabilize_kimg=5)
    level = [5-s.lod(n) for n in range(0, 2*s.total_images, 7)]
    assert level[0] == 2 and level[-1] == 5 == max(level)
    assert np.all(np.diff(level)>=0) and np.max(np.diff(level)) <= 7/3000+1e-12
    assert all(0<=s.next_batch(n).alpha<=1 for n in range(0, 2*s.total_images, 7))

def test_akanimax_15_resuming_in_the_middle_of_a_fade():
    s = named('minutes', 32)
    n = s.phases[1].start+400
    assert s(n).phase == 'fade'
    states = [s.next_batch(o) for o in range(n, n+3000, 16)]
    assert [pickle.loads(pickle.dumps(s)).next_batch(o) for o in range(n, n+3000, 16)] == states
    assert [s.next_batch(o) for o in reversed(range(n, n+3000, 16))] == states[::-1], 'no hidden counter'

# --- borders

def test_border_from_both_sides():
    s = S(16, fade_kimg=600, stabilize_kimg=600)
    assert [s(600_000+d)[:2] for d in (-1,0)] == [(4,1.), (4,1.)] and s(600_001)[:2] == (8, 1/600_000)
    assert s.next_batch(599_999)[:2] == (4,1.) and s.next_batch(600_000) == (8, 0., 16, .001, 'fade')
    assert s(1_200_000) == s.next_batch(1_200_000) == (8, 1., 16, .001, 'stabilize')

@pytest.mark.parametrize('s', [S(16, fade_kimg=.3, stabilize_kimg=.5), S(16, fade_kimg=0, stabilize_kimg=.2), S(16, fade_kimg=.2, stabilize_kimg={4:.2, 8:0}),
                               S(8, fade_kimg=.1, stabilize_kimg=.1, total_kimg=.15), S(4, stabilize_kimg=.1), S(16, fade_kimg={8:0, 16:.1}, stabilize_kimg=.1)])
def test_both_views_agree_but_at_the_start_of_a_fade(s):
    fades = {p.start for p in s.phases if p.phase=='fade'}
    for n in range(s.total_images+50): assert (s(n) == s.next_batch(n)) == (n not in fades), n

def test_fractions_do_not_drift():
    s = S(1024, fade_kimg=.1, stabilize_kimg=.7)
    assert s.state_changes() == sorted([0] + [700+800*i for i in range(8)] + [800+800*i for i in range(8)])

def test_zero_length_fades():
    s = S(16, fade_kimg=0, stabilize_kimg=1)
    assert s.state_changes() == [0, 1000, 2000] and s(1000) == s.next_batch(1000) == (8, 1., 16, .001, 'stabilize')

def test_no_growth():
    s = S(32, start_resolution=32, stabilize_kimg=2, fade_kimg={})
    assert s.phases == (('stabilize', 32, 0, 2000),) and s(10**6)[:2] == (32, 1.) and s.lod(0) == 0

def test_total_cuts_or_prolongs():
    assert S(8, total_kimg=9000).phases[-1].end == 9_000_000
    s = S(8, fade_kimg=1, stabilize_kimg=1, total_kimg=1.5)
    assert s.total_images == 1500 and s(10**6)[:2] == (8, .5), 'a cut fade keeps its slope'
    assert S(8, fade_kimg=1, stabilize_kimg={4:1, 8:0})(2000) == (8, 1., 16, .001, 'stabilize')

@pytest.mark.parametrize('every', [1,4])
@pytest.mark.parametrize('kw', [dict(fade_kimg=.5, stabilize_kimg=.7, batch_size={4:16, 8:10, 16:3}), dict(fade_kimg=0, stabilize_kimg=.7, batch_size={4:7, 8:35}),
                                dict(fade_kimg=.2, stabilize_kimg={4:.64, 8:0, 16:.01}, batch_size={4:16, 8:100})])
def test_steps_are_those_of_the_loop(kw, every):
    s,n,steps = S(16, **kw),0,0
    while n<s.total_images: n,steps = n+every*s(n).batch_size, steps+every
    assert s.steps(every) == steps

# --- ticks, table, plot

@pytest.mark.parametrize('s', [named('paper', 1024), named('minutes', 32), S(16, fade_kimg=.1, stabilize_kimg=.1), S(8, total_kimg=.003)])
@pytest.mark.parametrize('kimg', [None, .05, {4:30, 16:2}])
def test_ticks_cover_the_run_and_cross_no_border(s, kimg):
    ticks = s.ticks(kimg)
    assert ticks[0][0] == 0 and ticks[-1][1] == s.total_images and [b for _,b in ticks[:-1]] == [a for a,_ in ticks[1:]]
    assert set(s.state_changes()) <= {a for a,_ in ticks} and all(a<b for a,b in ticks)
    for a,b in ticks: assert s.next_batch(a).resolution == s.next_batch(b-1).resolution

def test_default_ticks_are_a_readable_log():
    assert 30 <= len(named('minutes', 32).ticks()) <= 60
    for a,b in named('official', 1024).ticks(): assert b-a <= 1000*official_ticks[named('official', 1024).next_batch(a).resolution]

def test_table_and_plot():
    import matplotlib; matplotlib.use('agg')
    s = named('minutes', 32)
    t = s.table()
    assert t.to_kimg.iloc[-1]*1000 == s.total_images and len(t) == len(s.phases)
    before = dict(matplotlib.rcParams)
    axs = s.plot(5000)
    assert axs[0].get_ylabel() == 'resolution' and axs[1].get_xlabel() == 'kimg' and dict(matplotlib.rcParams) == before
    matplotlib.pyplot.close('all')

# --- frozen, plain, complaining

def test_frozen_and_independent_of_the_callers_dict():
    batches = {4:16, 8:8}
    s = S(8, batch_size=batches); batches[8] = 1
    assert s(10**9).batch_size == 8
    with pytest.raises(dataclasses.FrozenInstanceError): s.resolution = 16
    assert eval(repr(s)) == s == copy.deepcopy(s) and s.named('paper', 64) != named('official', 64)

def test_numpy_counts_do(): assert S(np.int64(8))(np.int64(900_000)) == S(8)(900_000.) == (8, .125, 16, .001, 'fade')

@pytest.mark.parametrize('kw,error,says', [
    (dict(resolution=48), ValueError, 'nearest is 64'), (dict(resolution=2), ValueError, '4 or more'), (dict(resolution=64.), TypeError, '64.0'), (dict(resolution='64'), TypeError, "'64'"),
    (dict(resolution=8, start_resolution=16), ValueError, 'start at 8'), (dict(resolution=8, start_resolution=5), ValueError, 'nearest is 4'),
    (dict(resolution=8, fade_kimg=-1), ValueError, 'fade_kimg must be'), (dict(resolution=8, stabilize_kimg=-1), ValueError, 'stabilize_kimg must be'),
    (dict(resolution=8, stabilize_kimg=0), ValueError, 'untrained'), (dict(resolution=8, fade_kimg=float('nan')), ValueError, 'nan'),
    (dict(resolution=8, total_kimg=0), ValueError, 'total_kimg'), (dict(resolution=8, total_kimg={4:1}), ValueError, 'total_kimg'),
    (dict(resolution=8, batch_size=0), ValueError, '1 or more'), (dict(resolution=8, batch_size=2.5), ValueError, '2.5'), (dict(resolution=8, batch_size=True), ValueError, 'True'),
    (dict(resolution=8, batch_size={8:4}), ValueError, 'add 4: ...'), (dict(resolution=8, fade_kimg={16:4}), ValueError, 'add 8: ...'), (dict(resolution=8, batch_size={}), ValueError, 'add 4'),
    (dict(resolution=8, batch_size={4:4, 23:4}), ValueError, 'a resolution in batch_size'), (dict(resolution=8, batch_size={'4':4}), TypeError, "'4'"),
    (dict(resolution=8, learning_rate=0), ValueError, 'larger than 0'), (dict(resolution=8, learning_rate='fast'), ValueError, 'fast')])
def test_bad_arguments(kw, error, says):
    with pytest.raises(error, match=says.replace('.', r'\.')): S(**kw)

@pytest.mark.parametrize('n,error', [(-1, ValueError), ('3', TypeError), (None, TypeError), (float('nan'), TypeError), (True, TypeError)])
def test_bad_images_seen(n, error):
    with pytest.raises(error, match='images_seen'): S(8)(n)

def test_bad_names():
    with pytest.raises(ValueError, match='paper, official, stylegan, minutes'): named('progan', 64)
    with pytest.raises(ValueError, match=r'\[1, 2, 4, 8\], got 3'): named('official', 64, gpus=3)
    with pytest.raises(ValueError, match=r'\[1\], got 8'): named('paper', 64, gpus=8)
    with pytest.raises(ValueError, match='nearest is 64'): named('paper', 60)
    with pytest.raises(ValueError, match='tick_kimg'): S(8).ticks(0)

def test_imports_nothing_of_ours_and_no_torch():
    code = "import sys, progrow.schedule; print([m for m in sys.modules if m.startswith('progrow.') and m!='progrow.schedule'] + [m for m in ('torch','fastai') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

# --- going further

@pytest.mark.parametrize('kw', [dict(), dict(total_kimg=2.), dict(total_kimg=.3), dict(fade_kimg={8:.1}, stabilize_kimg={4:.2, 8:.3}), dict(fade_kimg=0)])
def test_what_an_extended_schedule_says_about_the_past_stays(kw):
    s = S(8, **{**dict(stabilize_kimg=.2, fade_kimg=.1), **kw})
    more = s.extended(32)
    for n in range(s.total_images): assert more.next_batch(n)==s.next_batch(n), n
    assert more.resolution==32 and more.total_images>s.total_images and more.extended(32)==more

def test_a_schedule_that_was_prolonged_grows_when_it_had_ended():
    assert S(8, total_kimg=4000).extended(16).phases[-2:]==(('fade',16,4_000_000,4_800_000), ('stabilize',16,4_800_000,5_600_000))
    assert S(8).extended(total_kimg=5000).total_images==5_000_000 and S(8, total_kimg=100).extended(8)==S(8, total_kimg=100)

@pytest.mark.parametrize('kw,says', [(dict(resolution=4), 'smaller than the 8'), (dict(resolution=12), 'power of two'), (dict(total_kimg=1), 'less than the 2400'), (dict(resolution=16, total_kimg=1), 'less than')])
def test_a_shorter_schedule_is_no_extended_one(kw, says):
    with pytest.raises(ValueError, match=says): S(8).extended(**kw)

@pytest.mark.parametrize('kw', [dict(total_kimg=1e300), dict(stabilize_kimg=1e300), dict(fade_kimg=2e7), dict(total_kimg=float('inf')), dict(total_kimg=True and 10**9)])
def test_a_length_beyond_all_bounds_is_refused_and_does_not_hang(kw):
    with pytest.raises(ValueError, match='10,000,000'): S(8, **kw)
