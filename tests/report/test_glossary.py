"""Each term is explained once in a section of the page, and the documentation has the same list."""

import re
from html.parser import HTMLParser

import pytest
from report_builders import HOSTILE, make_sweep, report, write

from rdbench.report import glossary
from rdbench.report.glossary import mark_terms, terms

SKIPPED = {*glossary.QUIET, "table"}


class Page(HTMLParser):
    """Of each block of a page (the header, each section) its prose, and the terms marked in it."""

    def __init__(self, text):
        super().__init__()
        self.open, self.blocks = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in ("header", "section"):
            self.blocks.append(([], []))
        if tag not in ("img", "input", "meta", "br", "path", "circle"):
            self.open.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        pass  # of a picture: nothing stands within

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        names = [tag for tag, _ in self.open]
        if not self.blocks or not {"header", "section"} & set(names):
            return
        prose, marked = self.blocks[-1]
        if names[-1] == "dfn":
            marked.append((data, self.open[-1][1]))
        if not {*names} & (SKIPPED - {"dfn"}):
            prose.append(data)


def ways():
    return {way: term for term in terms() for way in (term.term, *term.also)}


@pytest.mark.parametrize("build", [
    lambda root: write(root, make_sweep(seeds=3)),
    lambda root: write(root, make_sweep(seeds=2), images=True,
                       lost=lambda trial: ("failed", "boom") if trial.beta > 5 else None),
], ids=["seeds", "failed"])  # fmt: skip
def test_every_term_in_a_sections_prose_is_explained_once_there(tmp_path, build):
    build(tmp_path / "study")
    page = Page(report(tmp_path, tmp_path / "study", terms=True))
    assert len(page.blocks) >= 3
    for prose, marked in page.blocks:
        known = ways()
        explained = [known.get(text) or known[text[:1].lower() + text[1:]] for text, _ in marked]
        assert len(explained) == len(set(explained)), "a term is marked twice"
        for (_, attributes), term in zip(marked, explained, strict=True):
            assert attributes["title"] == term.meaning
            assert attributes["tabindex"] == "0"
        text = " ".join(prose)
        there = {
            known[way] for way in known if re.search(rf"(?<![\w&#/^.-]){re.escape(way)}(?![\w^=-])", text)
        }
        # A term within a longer one ("rate" in "learning rate") is not by itself there.
        missing = {term.term for term in there - set(explained)}
        assert not {
            term for term in missing if not any(term in longer and term != longer for longer in known)
        }
    assert any(len(marked) > 10 for _, marked in page.blocks)


def test_a_folded_text_explains_only_what_stands_nowhere_else():
    html = mark_terms("<details><summary>ELBO</summary><p>PSNR and hull</p></details><p>a PSNR, a PSNR</p>")
    assert html.count("<dfn") == 2
    assert re.search(r"<p>PSNR and <dfn[^>]*>hull</dfn></p>", html)
    assert re.search(r"<p>a <dfn[^>]*>PSNR</dfn>, a PSNR</p>", html)


def test_tables_code_and_buttons_are_left_alone():
    for name in ("table", "pre", "button", "code", "summary", "h1"):
        assert mark_terms(f"<{name}>ELBO</{name}>") == f"<{name}>ELBO</{name}>"
    for html in ('<p title="ELBO">x</p>', "<p>ELBO_x, my-ELBO, train.epochs</p>"):
        assert mark_terms(html) == html


def test_a_name_of_the_users_stays_escaped_beside_a_term(tmp_path):
    write(tmp_path / "study", make_sweep(name="study"))
    text = report(tmp_path, tmp_path / "study", terms=True)
    assert "<dfn" in text
    assert HOSTILE not in mark_terms("<p>" + HOSTILE.replace("<", "&lt;") + " ELBO</p>")


def test_a_meaning_is_sentences_of_at_most_25_words_that_do_not_explain_a_term_by_itself():
    assert len({term.term for term in terms()}) == len(terms())
    assert len(ways()) == sum(1 + len(term.also) for term in terms()), "two terms are written alike"
    for term in terms():
        for sentence in re.split(r"(?<=[.!?]) ", term.meaning):
            assert len(sentence.split()) <= 25, sentence
        assert term.meaning.endswith(".")
        assert not term.meaning.startswith(term.term)
