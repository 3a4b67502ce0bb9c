"""The page in a browser, from a file: what a reader does with the charts, and that nothing is loaded."""

import itertools
import json
import shutil
import time

import pytest
from report_builders import HOSTILE, make_sweep, write
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from rdbench.report import make_report, sections

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason=f"needs a browser and its driver; found chromium: {BROWSER}, chromedriver: {DRIVER}",
)

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run")  # fmt: skip
PLAIN, EVIL = "beta_vae", f"bs_vae {HOSTILE}"


class Reader:
    """Someone with the page open."""

    def __init__(self, driver, page):
        self.driver, self.page = driver, page

    def open(self, width=1100, height=800, scheme="light"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(self.page.as_uri())
        self.run("document.querySelectorAll('details > figure:not([data-chart=training])')"
                 ".forEach((figure) => { figure.parentElement.open = true; })")  # fmt: skip

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def until(self, test):
        end = time.monotonic() + 20
        while not (found := test()):
            assert time.monotonic() < end, "nothing happened for 20 s"
            time.sleep(0.02)
        return found

    def figure(self, chart, inner=""):
        return f"figure[data-chart={chart}] {inner}".strip()

    def drawn(self, chart):
        return self.all(self.figure(chart, "svg.marks"))

    def show(self, chart):
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.all(self.figure(chart))[0])
        self.until(lambda: self.drawn(chart))

    def texts(self, chart, role):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)",
                        self.figure(chart, f"svg .{role} text"))  # fmt: skip

    def choose(self, chart, control, option):
        before = self.drawn(chart)[0]
        Select(self.all(self.figure(chart, f"select[data-control='{control}']"))[0]).select_by_value(option)
        self.until(lambda: self.drawn(chart) and self.drawn(chart)[0] != before)

    def variants(self, chart):
        """The variant of each mean point that is drawn."""
        marks = "return [...document.querySelectorAll(arguments[0])]"
        return self.run(f"{marks}.map((each) => each.__data__.datum.variant)",
                        self.figure(chart, ".points_marks path"))  # fmt: skip

    def points(self, chart="rate_distortion"):
        return self.all(self.figure(chart, ".points_marks path"))

    def button(self, variant):
        return next(
            each for each in self.all(".legend button") if each.get_attribute("data-variant") == variant
        )

    def picked(self):
        return self.all(".picked")[0]


def pictures_of(reader, key):
    """The sources of a trial's pictures in the grid, after the test images, which stand above it once."""
    strips = f".originals[data-section=s0] img, table [data-pictures='s0/{key}'] img"
    return [image.get_attribute("src") for image in reader.all(strips)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "variant_name", lambda variant: EVIL if variant.name == "bs_vae" else PLAIN)
        root = write(folder / "a", make_sweep(seeds=[0, 1, 2], beta=[1, 3, 10]), images=True)
        page = make_report([root], folder / "out.html")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        reader = Reader(driver, page)
        driver.get("data:,")
        driver.get_log("performance")  # of the browser's own first page
        reader.open()
        reader.show("rate_distortion")
        yield reader
    finally:
        driver.quit()


def test_the_reading_is_chosen_by_a_control_and_axis_and_finding_follow(reader):
    assert "σ² of the training images" in "".join(reader.texts("rate_distortion", "role-axis-title"))
    reader.choose("rate_distortion", 0, "distortion_optimal")
    titles = "".join(reader.texts("rate_distortion", "role-axis-title"))
    assert "σ² optimal for each image, fitted to it" in titles
    assert "1/2" not in titles
    finding = reader.all(reader.figure("rate_distortion", ".finding"))[0].text
    assert finding.startswith("Distortion, σ² optimal for each image, fitted to it. ")
    (chart,) = reader.all(reader.figure("rate_distortion", ".chart"))
    assert chart.get_attribute("aria-label") == finding


def test_the_rate_axis_can_be_logarithmic_and_in_bits_per_pixel(reader):
    def gaps():
        middles = [path.rect["x"] for path in reader.points()[:3]]
        return [abs(later - sooner) for sooner, later in itertools.pairwise(middles)]

    # Rates of 20, 6.67 and 2 nats and an eighth: 13.33 and 4.667 nats apart, 1.0863 and 1.1619 in logarithms.
    linear = gaps()
    reader.choose("rate_distortion", 1, "log")
    log = gaps()
    assert linear[0] / linear[1] == pytest.approx(13.33 / 4.667, rel=0.1)
    assert log[0] / log[1] == pytest.approx(1.0863 / 1.1619, rel=0.1)
    reader.choose("rate_distortion", 2, "bits_per_pixel")
    assert "rate (bits per pixel)" in reader.texts("rate_distortion", "role-axis-title")
    assert gaps() == pytest.approx(log, abs=1)


def test_a_switch_holds_when_the_view_changes(reader):
    small = reader.figure("rate_distortion", "svg path:is([stroke-opacity], [opacity='0.55'])")
    before = len(reader.all(small))
    assert before == 18
    (box,) = reader.all(reader.figure("rate_distortion", "[data-switch=spread]"))
    box.click()
    reader.until(lambda: not reader.all(small))
    reader.choose("rate_distortion", 0, "mse")
    assert not reader.all(small)
    box.click()
    reader.until(lambda: len(reader.all(small)) == before)


def test_a_variant_that_is_switched_off_leaves_every_chart(reader):
    reader.show("over_beta")
    charts = ("rate_distortion", "over_beta")
    assert all(reader.variants(chart) == [PLAIN] * 3 + [EVIL] * 3 for chart in charts)
    button = reader.button(EVIL)
    assert button.get_attribute("aria-pressed") == "true"
    button.send_keys(Keys.ENTER)  # a button works by the keyboard
    reader.until(lambda: all(reader.variants(chart) == [PLAIN] * 3 for chart in charts))
    assert button.get_attribute("aria-pressed") == "false"
    assert reader.button(PLAIN).get_attribute("aria-pressed") == "true"
    reader.choose("over_beta", 0, "rate")
    assert reader.variants("over_beta") == [PLAIN] * 3  # it stays off in another view
    button.click()
    reader.until(lambda: all(len(reader.variants(chart)) == 6 for chart in charts))
    assert button.get_attribute("aria-pressed") == "true"


def test_a_button_shows_the_mark_of_its_variant(reader):
    marks = [reader.button(variant).find_element("css selector", "path") for variant in (PLAIN, EVIL)]
    assert [mark.get_attribute("fill") for mark in marks] == ["#0072B2", "#D55E00"]
    assert len({mark.get_attribute("d") for mark in marks}) == 2


def test_a_click_on_a_point_shows_its_pictures(reader):
    reader.run("arguments[0].scrollIntoView({block: 'center'})", reader.points()[0])
    for place, key in ((3, "1/1"), (5, "1/10")):  # of the second variant, at the lowest beta and the highest
        ActionChains(reader.driver).move_to_element(reader.points()[place]).click().perform()
        reader.until(lambda key=key: f"β {key.split('/')[1]}:" in reader.picked().text)
        shown = [each.get_attribute("src") for each in reader.picked().find_elements("css selector", "img")]
        assert shown == pictures_of(reader, key)
        assert len(shown) == 3 * 8
    assert reader.picked().get_attribute("aria-live") == "polite"


def test_arrow_keys_and_enter_do_what_a_click_does(reader):
    points = reader.points()
    stops = [point.get_attribute("tabindex") for point in points]
    assert sorted(stops) == ["-1"] * 5 + ["0"]  # one stop of the tab key
    assert {point.get_attribute("role") for point in points} == {"button"}
    reader.run("arguments[0].focus()", points[stops.index("0")])
    active = reader.driver.switch_to.active_element
    active.send_keys(Keys.HOME)
    for _ in range(2):
        reader.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    active = reader.driver.switch_to.active_element
    assert active == points[2]
    assert active.get_attribute("aria-label").startswith(f"{PLAIN}, β 10: rate ")
    assert [point.get_attribute("tabindex") for point in points].index("0") == 2
    # Focus can be seen.
    assert reader.run("return getComputedStyle(arguments[0]).strokeWidth", active) == "6px"
    active.send_keys(Keys.ENTER)
    reader.until(lambda: reader.picked().text.startswith(f"{PLAIN}, β 10: rate "))
    shown = [each.get_attribute("src") for each in reader.picked().find_elements("css selector", "img")]
    assert shown == pictures_of(reader, "0/10")


def test_a_point_without_pictures_says_so(reader):
    reader.run("document.querySelector(\"[data-pictures='s0/0/1']\").remove()")
    reader.run("arguments[0].focus()", reader.points()[0])
    reader.driver.switch_to.active_element.send_keys(Keys.ENTER)
    reader.until(lambda: "No pictures of it are on this page." in reader.picked().text)


def test_hostile_text_is_text(reader):
    assert reader.button(EVIL).text == EVIL
    assert reader.all("img[src=x]") == []
    assert reader.all("script") == reader.all("body > script")
    assert len(reader.all("script")) == 3  # the specs, Vega, and the page's own


def test_figures_in_closed_details_wait_until_these_open(reader):
    assert not reader.drawn("training")
    details = reader.all("details:has(figure[data-chart=training])")[0]
    reader.run("arguments[0].open = true; arguments[0].scrollIntoView()", details)
    reader.until(lambda: reader.drawn("training"))
    lines = reader.figure("training", ".mark-line path")
    assert len(reader.all(lines)) == 3  # one a beta
    reader.choose("training", 0, "variant_1")
    reader.choose("training", 2, "linear")
    assert EVIL in reader.all(reader.figure("training", ".finding"))[0].text


def test_on_a_phone_in_the_dark_the_page_keeps_its_width_and_the_charts_take_its_colours(reader):
    reader.open(width=360, height=640, scheme="dark")
    reader.show("rate_distortion")
    assert reader.run("return document.documentElement.scrollWidth") <= 360
    (svg,) = reader.drawn("rate_distortion")
    assert svg.rect["x"] + svg.rect["width"] <= 360
    label = reader.all(reader.figure("rate_distortion", ".role-axis-label text"))[0]
    ink = reader.run("return getComputedStyle(document.body).color")
    assert reader.run("return getComputedStyle(arguments[0]).fill", label) == ink
    assert ink == "rgb(230, 232, 235)"


@pytest.mark.parametrize(("width", "below"), [(390, True), (1100, False)])
def test_the_names_of_fig3s_curves_stand_below_it_on_a_phone_alone(reader, tmp_path, width, below):
    root = write(tmp_path / "a", make_sweep(seeds=2, beta=[1, 3, 10]))
    shown = Reader(reader.driver, make_report([root], tmp_path / "out.html"))
    shown.open(width=width)
    shown.show("fig3")
    names = ["beta_vae, σ² = 1/2", "beta_vae, σ² = β/2", "beta_vae, optimal σ²", "bs_vae, optimal σ²"]
    assert [one.text.strip() for one in shown.all(".names span")] == (names if below else [])
    assert len(shown.all(".names svg")) == (4 if below else 0)
    written = shown.run("return [...document.querySelectorAll('figure[data-chart=fig3] svg text')]"
                        ".map((each) => each.textContent)")  # fmt: skip
    assert bool(set(names) & set(written)) != below
    shown.show("psnr")  # whose names the buttons of the section have
    assert len(shown.all(".names")) == below


def test_a_terms_meaning_shows_on_focus_and_hover_and_escape_takes_it_away(reader):
    reader.open(width=390)
    terms = [term for term in reader.all("dfn") if term.is_displayed()]
    for term in (terms[0], terms[-1]):
        reader.run("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", term)
        meaning = reader.all("#meaning")[0]
        reader.until(meaning.is_displayed)
        assert meaning.text == term.get_attribute("aria-description") != ""
        assert meaning.rect["x"] + meaning.rect["width"] <= 390
        ActionChains(reader.driver).send_keys(Keys.ESCAPE).perform()
        assert not meaning.is_displayed()
    ActionChains(reader.driver).move_to_element(term).perform()
    reader.until(meaning.is_displayed)


def test_what_has_not_been_drawn_is_drawn_before_printing(reader):
    reader.open(width=500, height=200)
    charts = ("rate_distortion", "over_beta")
    assert not any(reader.drawn(chart) for chart in charts)
    # Printing waits for no more than what follows at once.
    reader.run("dispatchEvent(new Event('beforeprint'))")
    assert all(reader.drawn(chart) for chart in charts)
    assert not reader.drawn("training")  # its details are closed, so it is not printed


def test_printed_a_closed_part_says_that_it_was_closed_and_nothing_is_wider_than_the_paper(reader):
    reader.open(width=718)  # A4 within margins of a centimetre
    try:
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        after = "return getComputedStyle(arguments[0], '::after').content"
        closed, opened = (reader.all(f"details{state} > summary")[0] for state in (":not([open])", "[open]"))
        assert "closed when this was printed" in reader.run(after, closed)
        assert reader.run(after, opened) == "none"
        assert reader.run("return document.documentElement.scrollWidth") <= 718
        assert not any(each.is_displayed() for each in reader.all(".controls, .meaning, .vega-embed summary"))
    finally:
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_was_loaded_and_nothing_went_wrong(reader):
    """The last: of all that was done to the page above."""
    reader.show("over_beta")
    assert reader.driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in reader.driver.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []
