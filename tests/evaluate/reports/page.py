"""A report, as its reader finds it."""

from html.parser import HTMLParser

VOID_TAGS = {"meta", "img", "br", "wbr", "use", "path", "rect"}  # the last three close themselves in matplotlib's SVG


class Page(HTMLParser):
    """What a reader of the page finds: text, tables by caption, pictures, links."""

    def __init__(self, html):
        super().__init__()
        self.html, self.open, self.ids, self.links, self.images = html, [], [], [], []
        self.words, self.tables, self.sections = [], [], {}
        self.feed(html)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))
        self.text = self.clean(self.words)

    @staticmethod
    def clean(words):
        return " ".join("".join(words).split())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID_TAGS:
            self.open.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [value for name, value in attributes.items() if name in ("href", "xlink:href", "src", "action")]
        if tag == "img":
            self.images.append(attributes)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag in ("small", "br", "dt", "dd", "div", "p", "li"):
            self.handle_data(" ")

    def handle_endtag(self, tag):
        if tag not in VOID_TAGS:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_data(self, data):
        if {"style", "title", "svg"} & set(self.open):
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def table(self, heading):
        """The table of that first heading cell, with white space cleaned."""
        tables = [[[self.clean(cell) for cell in row] for row in table] for table in self.tables]
        return next(table for table in tables if heading in table[0])
