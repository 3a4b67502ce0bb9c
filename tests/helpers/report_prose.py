"""The sentences of a report's page: its prose outside of tables, toggles included, and all findings."""

import json
import re
from html.parser import HTMLParser

BLOCKS = {"p", "li", "summary", "figcaption", "h1", "h2", "h3", "h4", "div", "section", "header", "details",
          "figure", "ul", "main", "nav", "noscript"}  # fmt: skip
SILENT = {"script", "style", "table", "pre", "select", "label", "svg", "title", "button", "code"}
VOID = {"img", "input", "meta", "br", "link"}
# A sentence ends at a stop; the parts of the line that says what was run are each by itself.
END = re.compile(r"(?<!Fig\.)(?<!\bch\.)(?<=[.!?])\s+|\s·\s")


class _Prose(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.silent, self.blocks = 0, [""]
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in SILENT:
            self.silent += 1
        elif tag in BLOCKS:
            self.blocks.append("")

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag in SILENT:
            self.silent -= 1
        elif tag in BLOCKS:
            self.blocks.append("")

    def handle_data(self, data):
        if not self.silent:
            self.blocks[-1] += data


def sentences(page):
    """Return the sentences of a page, each once, in order."""
    blocks = [" ".join(block.split()) for block in _Prose(page).blocks]
    if found := re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL):
        for charts in json.loads(found[1]).values():
            blocks += [view["description"] for one in charts.values() for view in one["views"].values()]
    return list(dict.fromkeys(sentence for block in blocks if block for sentence in END.split(block)))


def words(sentence):
    """Return how many words a sentence has: what has a letter, a digit or a Greek letter."""
    return len([word for word in sentence.split() if re.search(r"\w|[α-ωσβ]", word)])
