"""Manual pages from what rsp says of itself: rsp(1) from `rsp --help`, and one page of section 7 for each chapter of
the manual, rsp-configuration(7) and so on. A section that is added to the help or a chapter is in them without a change
here. The result is ASCII: man(7) macros and, for tables, those of tbl(1).
"""

import re

# Of a table on a terminal of 80, where text is indented by 7 and ends before the last column.
WIDTH = 70
# What stands for something else in a line of usage, and what only says how often.
PLACEHOLDER = re.compile(r"([A-Z]+(?:\.lua)?)")
SIGNS = "[]|…"
INLINE = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|\[(?P<name>(?:`[^`]*`|[^\]`])*)\]\((?P<target>[^)\s]*)\)")
ITEM = re.compile(r"(- |\d+\. )")
SPECIAL = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}


def pages(said, chapters, version, date):
    """Name of each page, such as rsp.1, and its text. `said` is what `rsp --help` prints, `chapters` the Markdown of
    each topic."""
    made = {"rsp.1": command(said, version, date)}
    for topic, text in chapters.items():
        made[f"rsp-{topic}.7"] = chapter(topic, text, version, date)
    return made


# ---- letters and words


def escaped(text, literal=False):
    """For the text of a line. Literal text keeps its hyphens and quotes when it is copied from the page."""
    out = "".join(letter if ord(letter) < 128 else f"\\[u{ord(letter):04X}]" for letter in
                  "".join(SPECIAL.get(letter, letter) if literal or letter == "\\" else letter for letter in text))
    return out.replace("-", r"\-") if literal else out


def bold(text):
    return rf"\fB{escaped(text, True)}\fR"


def inline(text):
    """A paragraph's Markdown: code and bold as bold, links as their text and the page that they lead to."""
    out, at = "", 0
    for found in INLINE.finditer(text):
        out += escaped(text[at:found.start()])
        if found["code"]:
            out += bold(found["code"])
        elif found["bold"]:
            out += rf"\fB{inline(found['bold'])}\fR" if "`" not in found["bold"] else inline(found["bold"])
        else:
            file = found["target"].split("#")[0]
            page = file.removesuffix(".md") if file.endswith(".md") else None
            out += inline(found["name"]) + (f" (see {bold('rsp-' + page)}(7))" if page else "")
        at = found.end()
    return out + escaped(text[at:])


def line(text):
    """A line of the page that is text, whatever it begins with."""
    return rf"\&{text}" if text.startswith((".", "'")) else text


def head(name, section, about, version, date):
    return [r"'\" t", r".\" Made by scripts/package: do not edit.",
            f'.TH {name.upper()} {section} "{date}" "rsp {version}" "rsp manual"',
            # Tables have narrow columns; blanks between their words would be wide.
            ".ad l", ".nh", ".if n .pl 10000v", ".SH NAME", rf"{escaped(name, True)} \- {inline(about)}"]


# ---- rsp(1)


def command(said, version, date):
    first, *rest = said.rstrip("\n").split("\n")
    program, about = first.split(": ", 1)
    sections, titles = {"": []}, [""]
    for text in rest:
        if re.fullmatch(r"[a-z][a-z ]*:", text):
            titles.append(text[:-1])
            sections[titles[-1]] = []
        elif text.startswith(" ") or not text:
            sections[titles[-1]].append(text)
        else: # a paragraph between two lists
            sections[""].append(text)
    out = head(program, 1, about, version, date)
    usage = terms(sections.pop("usage"))
    out += [".SH SYNOPSIS", ".nf", *(synopsis(term) for term, _ in usage), ".fi"]
    out += [".SH DESCRIPTION", *(line(escaped(text)) for text in sections.pop("") if text)]
    out += [".SH COMMANDS", *listed(usage, synopsis)]
    topics = terms(sections.pop("topics"))
    for title, lines in sections.items():
        title = {"exit codes": "exit status"}.get(title, title)
        out += [f".SH {title.upper()}", *listed(terms(lines))]
    out += [".SH ENVIRONMENT", ".TP", bold("RSP_LOG"),
            rf"the level of the log: {bold('error')}, {bold('warn')}, {bold('info')} (the default), "
            rf"{bold('debug')} or {bold('trace')}"]
    out += [".SH SEE ALSO", "The chapters of the manual, which", rf"{bold('rsp help TOPIC')} prints, too:"]
    out += listed(topics, lambda topic: bold(f"rsp-{topic}") + "(7)")
    return "\n".join(out) + "\n"


def terms(lines):
    """Pairs of what stands on the left and on the right."""
    pairs = []
    for text in filter(None, lines):
        if text.startswith(" " * 10) and pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {text.strip()}")
        else:
            term, _, about = text.strip().partition("  ")
            pairs.append((term, about.strip()))
    return pairs


def synopsis(term):
    """A line of usage: what is typed is bold, what stands for something else italic."""
    def word(text):
        left = text[:len(text) - len(text.lstrip(SIGNS))]
        right = text[len(text.rstrip(SIGNS)):] if text.strip(SIGNS) else ""
        core = text.strip(SIGNS)
        shown = rf"\fI{escaped(core)}\fR" if PLACEHOLDER.fullmatch(core) else bold(core) if core else ""
        return escaped(left) + shown + escaped(right)
    return line(" ".join(map(word, term.split(" "))))


def listed(pairs, shown=bold):
    return [text for term, about in pairs for text in (".TP", line(shown(term)), line(escaped(about)))]


# ---- chapters


def chapter(topic, markdown, version, date):
    title, *rest = markdown.split("\n")
    about = title.split(": ", 1)[1]
    out = head(f"rsp-{topic}", 7, about, version, date) + [".SH DESCRIPTION"]
    while rest:
        block = next_block(rest)
        rest = rest[len(block):]
        out += written(block)
    # A section that begins at once leaves an empty one, or an empty paragraph, before it.
    text = "\n".join(out) + "\n"
    text = re.sub(r"^\.SH DESCRIPTION\n(?=\.SH )", "", text, flags=re.M)
    text = re.sub(r"(^\.S[HS] .*\n)\.PP\n", r"\1", text, flags=re.M)
    return text + ".SH SEE ALSO\n" + bold("rsp") + "(1)\n"


def kind(text):
    text = text.lstrip()
    for mark in ("```", "#", "|"):
        if text.startswith(mark):
            return mark
    return "text" if text else ""


def next_block(lines):
    """The lines of the block that begins here: code with its fences, a table, a paragraph or a list item, one line."""
    begins = kind(lines[0])
    if begins == "```":
        closing = next((at for at, text in enumerate(lines[1:], 1) if kind(text) == "```"), len(lines) - 1)
        return lines[:closing + 1]
    if begins in ("", "#"):
        return lines[:1]
    goes_on = lambda text: kind(text) == begins and not (begins == "text" and ITEM.match(text.lstrip()))
    count = next((at for at, text in enumerate(lines[1:], 1) if not goes_on(text)), len(lines))
    return lines[:count]


def written(block):
    first = block[0]
    indent = len(first) - len(first.lstrip())
    match kind(first):
        case "":
            return []
        case "#":
            level, text = first.split(" ", 1)
            text = text if level != "##" or "`" in text else text.upper()
            return [f".{'SH' if level == '##' else 'SS'} {inline(text)}"]
        case "```":
            code = [line(escaped(text[indent:], True)) for text in block[1:-1]]
            return [f'.IP "" {8 if indent else 4}', ".EX", *code, ".EE"]
        case "|":
            return table(block)
    text = " ".join(text.strip() for text in block)
    mark = ITEM.match(text)
    if mark:
        sign = r"\(bu 2" if mark[0] == "- " else f"{mark[0].strip()} 4"
        return [f".IP {sign}", line(inline(text[mark.end():]))]
    if indent: # a further paragraph of an item
        return [".IP", line(inline(text))]
    return [".PP", line(inline(text))]


def table(lines):
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", text.strip().removeprefix("|").removesuffix("|"))]
            for text in lines]
    heads, _, *rows = rows
    plain = [[re.sub(r"\]\([^)]*\)|[`\[*]", "", cell) for cell in row] for row in [heads, *rows]]
    columns = [[row[at] for row in plain if at < len(row)] for at in range(len(heads))]
    keys, wrapped = layout(columns)
    out = [".PP", ".TS", "tab(@);", keys.replace("l", "lB"), keys + "."]
    if any(heads):
        out += ["@".join(map(block, heads, wrapped)), "_"]
    else:
        del out[3]
    return out + ["@".join(map(block, row, wrapped)) for row in rows] + [".TE"]


def layout(columns):
    """The key of tbl for each column, and which of them are wrapped: the widest one takes what the others leave, which
    are as wide as they have to be for that."""
    natural = [max(len(cell) for cell in column) for column in columns]
    # What follows a word stays with it: a comma, "(7)".
    words = [max(len(word) for cell in column for word in cell.split(" ")) + 1 for column in columns]
    for gap in (3, 2, 1):
        widths, room = natural[:], WIDTH - gap * (len(columns) - 1)
        while sum(widths) > room and any(width > word for width, word in zip(widths, words)):
            at = max((at for at in range(len(widths)) if widths[at] > words[at]), key=widths.__getitem__)
            widths[at] -= 1
        if sum(widths) <= room:
            break
    wrapped = [width < whole for width, whole in zip(widths, natural)]
    widest = max(range(len(widths)), key=natural.__getitem__)
    keys = (f"lx{gap}" if of and at == widest else f"lw({width}n){gap}" if of else f"l{gap}"
            for at, (of, width) in enumerate(zip(wrapped, widths)))
    return " ".join(keys)[:-1], wrapped # nothing follows the last one


def block(cell, wide):
    """A cell of tbl. The sign between cells is written as a character of its own."""
    text = inline(cell.replace("\\|", "|")).replace("@", r"\(at")
    if wide:
        return f"T{{\n{line(text)}\nT}}"
    return rf"\&{text}" if text in ("_", "=", "") or text.startswith((".", "'")) else text
