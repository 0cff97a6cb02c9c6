"The golden files themselves: which are here, and that the subset is what the full set holds."
import numpy as np, pytest
from golden_files import FULL, SUBSET, from_full, from_subset, golden_file, packed

subset = sorted(p.name.removesuffix('.npz.xz') for p in SUBSET.glob('*.npz.xz'))
more = ('pggan32', 'stylegan64', 'stylegan128_fused', 'stylegan16_gray_cond')

def test_subset_is_small_and_listed():
    assert sorted(packed())==subset and len(subset)==14
    assert sum(p.stat().st_size for p in SUBSET.iterdir())<4_000_000

@pytest.mark.parametrize('name', more)
def test_larger_files(name):
    "Skips name what is not here; tests take the files that are"
    assert all(np.isfinite(v).all() for v in golden_file(name).values() if v.dtype.kind=='f')

@pytest.mark.skipif(not list(FULL.glob('*.npz')), reason=f'the full set is not at {FULL}')
def test_subset_holds_the_numbers_of_the_full_set():
    for name in subset:
        whole,part,how = from_full(name),from_subset(name),packed()[name]
        cut,rounded,narrow,dropped = (how.get(k, {}) for k in ('cut','rounded','narrow','dropped'))
        assert set(whole)==set(part)|set(dropped) and not set(part)&set(dropped), name
        for k,v in part.items():
            want = whole[k][:cut[k]] if k in cut else whole[k]
            assert v.shape==want.shape, (name, k)
            if k in rounded: np.testing.assert_allclose(v, want, rtol=0, atol=rounded[k]/2)
            else: np.testing.assert_array_equal(v, want.astype(np.float32) if k in narrow else want)

def test_what_the_subset_left_out():
    g = from_subset('swd')
    assert 'noise0_first2' in g.dropped
    with pytest.raises(KeyError, match='swd has no nonsense'): g['nonsense']
    if (FULL/'swd.npz').exists(): assert g['noise0_first2'].shape==(2,3,64,64)
    else:
        with pytest.raises(pytest.skip.Exception, match='noise0_first2 is not in the subset'): g['noise0_first2']
