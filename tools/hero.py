"""The pictures of the front page, drawn by the 64x64 generators of faces that ship with the package.

usage: hero.py

Writes into nbs/assets/hero: walk.webp, a walk between random latent vectors that ends where it began, samples.png, the
first 64 pictures of seed 1, none left out, and mixing.png, a style-mixing grid of seeds 3, 4, 11, 12 and 0 to 6.
"""
from pathlib import Path
from PIL import Image
from progrow.checkpoint import load_generator
from progrow.explore import interpolate, mixing_grid
from progrow.files import atomic_write
from progrow.images import show_images
from progrow.sampling import sample_images

folder = Path(__file__).resolve().parents[1]/'nbs'/'assets'/'hero'

def main():
    folder.mkdir(parents=True, exist_ok=True)
    G = load_generator('avatars64-progan')
    frames = interpolate(G, n_points=5, frames=48, seed=3, rows=2, cols=6).transpose(0, 2, 3, 1)
    first,*others = [Image.fromarray(o).resize((768, 256), Image.Resampling.NEAREST) for o in frames]
    with atomic_write(folder/'walk.webp') as f:
        first.save(f, 'webp', save_all=True, append_images=others, duration=90, loop=0, quality=50, method=4)
    with atomic_write(folder/'samples.png') as f:
        show_images(sample_images(G, 64, seed=1), rows=4).image.save(f, 'png', optimize=True)
    grid = mixing_grid(load_generator('avatars64-stylegan'), [3, 4, 11, 12], range(7), styles=['middle']*2+['fine']*2, psi=.7)
    with atomic_write(folder/'mixing.png') as f: show_images(grid[None], scale=2).image.save(f, 'png', optimize=True)

if __name__=='__main__': main()
