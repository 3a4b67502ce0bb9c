"""The report's pictures: by index, unaltered, within a budget."""

import base64

from report_builders import make_sweep, png, section_of, write

from rdbench.report import pictures

VARIANTS = ("beta_vae", "bs_vae")


def test_pictures_are_the_stored_bytes_in_order_of_index_and_originals_stand_once(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(), images=True))
    chosen = pictures.choose(section, VARIANTS, 10**6)
    assert ["test images" in p.strips for p in chosen.grid] == [True, False, False, False]
    assert len({*chosen.grid[0].strips["reconstructions"]}) == chosen.count == 8
    first = chosen.grid[0].strips["reconstructions"][0].removeprefix("data:image/png;base64,")
    assert base64.b64decode(first) == png(40)


def test_pictures_keep_to_their_budget_and_say_what_is_not_shown(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(beta=list(range(1, 21))), images=True))
    chosen = pictures.choose(section, VARIANTS, 10**6)
    assert [float(p.beta) for p in chosen.grid if p.variant == "bs_vae"] == [1, 5, 9, 12, 16, 20]
    # The others are there too, so that a click on any point shows its pictures.
    assert len({p.key for p in (*chosen.grid, *chosen.others)}) == 40
    assert chosen.grid[0].key == "0/1"
    assert chosen.notes == ()
    small = pictures.choose(section, VARIANTS, 3000)
    strips = [uris for p in (*small.grid, *small.others) for uris in p.strips.values()]
    assert sum(len(uri) for uris in strips for uri in uris) <= 3000
    assert small.notes == (
        f"{40 - len(small.grid)} other pairs of variant and β have pictures that the page has no room for.",
    )
    assert pictures.choose(section, VARIANTS, 10) is None


def test_what_is_not_a_png_is_not_embedded(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(), images=True))
    section.images.loc[section.images["kind"] == "sample", "png"] = b"<svg onload=alert(1)>"
    chosen = pictures.choose(section, VARIANTS, 10**6)
    assert all(not p.strips["prior samples"] for p in chosen.grid)
    assert chosen.notes == ("64 stored pictures are left out: they are not PNG files.",)
