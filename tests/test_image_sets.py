"A set that was written is read again, pixel for pixel, with its labels."
import json, zipfile
import numpy as np, pytest, torch
from progrow.data import image_pyramid
from progrow.image_sets import check_target, save_image_set, set_names
from progrow.images import to_uint8

@pytest.mark.parametrize('name', ['set','set.zip'])
@pytest.mark.parametrize('c', [1,3])
def test_a_set_comes_back(tmp_path, name, c):
    x = torch.rand(12, c, 8, 8)*2-1
    assert save_image_set(x, tmp_path/name, [0,1,2]*4, ['a','b','c'])==tmp_path/name
    p = image_pyramid(tmp_path/name, 8, cache=False)
    assert list(p.labels)==[0,1,2]*4 and p.label_names==['a','b','c']
    assert (np.array(p.level(8))==to_uint8(x).numpy()).all()

def test_without_classes_labels_are_null(tmp_path):
    save_image_set(torch.zeros(2, 3, 8, 8), tmp_path/'a.zip')
    with zipfile.ZipFile(tmp_path/'a.zip') as z:
        assert json.loads(z.read('dataset.json'))=={'labels':None} and z.namelist()==['0000.png','0001.png','dataset.json']
        assert all(o.compress_type==zipfile.ZIP_STORED for o in z.infolist())

def test_names_are_in_order():
    names = set_names(10_001)
    assert names==sorted(names) and names[0]=='00000.png' and set_names(3)[0]=='0000.png'

def test_what_is_refused(tmp_path):
    (tmp_path/'cat.png').write_bytes(b'')
    for path,n,match in ((tmp_path, 2, 'other pictures, such as cat.png'), (tmp_path/'a.jpg', 2, 'ends in .png'), (tmp_path/'b', 0, '1 picture or more')):
        with pytest.raises(ValueError, match=match): check_target(path, n)
    with pytest.raises(ValueError, match='1 labels for 2 pictures'): save_image_set(torch.zeros(2, 3, 8, 8), tmp_path/'b.zip', [1])
    assert not (tmp_path/'b.zip').exists()
