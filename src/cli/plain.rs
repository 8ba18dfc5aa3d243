//! Renders Markdown for a terminal: paragraphs, lists and tables are wrapped, code is indented, links become text.
//! Only the subset that the manual uses.

const WIDTH: usize = 80;
/// Blanks between two columns of a table.
const GAP: usize = 2;
/// Indentation of code.
const CODE: &str = "    ";

pub fn plain(markdown: &str) -> String {
    let lines: Vec<&str> = markdown.lines().collect();
    let (mut out, mut rest) = (String::new(), &lines[..]);
    while let Some((first, after)) = rest.split_first() {
        let taken = match kind(first) {
            BlockKind::Code => code(rest, &mut out),
            BlockKind::Table => table(rest, &mut out),
            BlockKind::Text => paragraph(rest, &mut out),
            BlockKind::Heading | BlockKind::Blank => {
                line(first, &mut out);
                1
            }
        };
        rest = after.get(taken - 1..).unwrap_or_default();
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Blank,
    Heading,
    Code,
    Table,
    Text,
}

fn kind(line: &str) -> BlockKind {
    match line.trim_start() {
        "" => BlockKind::Blank,
        text if text.starts_with("```") => BlockKind::Code,
        text if text.starts_with('#') => BlockKind::Heading,
        text if text.starts_with('|') => BlockKind::Table,
        _ => BlockKind::Text,
    }
}

fn line(text: &str, out: &mut String) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// Copies up to the closing fence; the fences are left out. These functions return how many lines they consumed.
fn code(lines: &[&str], out: &mut String) -> usize {
    let end =
        lines[1..].iter().position(|line| kind(line) == BlockKind::Code).map_or(lines.len(), |at| at + 1);
    // Keep adjacent code blocks apart.
    if out.ends_with('\n') && !out.ends_with("\n\n") {
        out.push('\n');
    }
    for text in &lines[1..end] {
        line(&format!("{CODE}{text}"), out);
    }
    end + 1
}

/// A paragraph, or one list item, whose further lines are indented.
fn paragraph(lines: &[&str], out: &mut String) -> usize {
    let goes_on = |line: &&&str| kind(line) == BlockKind::Text && marker(line.trim_start()) == 0;
    let count = 1 + lines[1..].iter().take_while(goes_on).count();
    let indent = lines[0].len() - lines[0].trim_start().len();
    let hang = indent + marker(&lines[0][indent..]);
    let text: Vec<&str> = lines[..count].iter().map(|line| line.trim()).collect();
    let text = inline(&text.join(" "));
    let (mark, text) = text.split_at(hang - indent);
    for (number, part) in wrapped(text, WIDTH - hang).iter().enumerate() {
        let before = if number == 0 { mark } else { "" };
        line(&format!("{:indent$}{before:mark$}{part}", "", mark = hang - indent), out);
    }
    count
}

/// Length of the marker `- ` or `1. ` of a list item.
fn marker(text: &str) -> usize {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match &text[digits..] {
        rest if digits == 0 && rest.starts_with("- ") => 2,
        rest if digits > 0 && rest.starts_with(". ") => digits + 2,
        _ => 0,
    }
}

fn table(lines: &[&str], out: &mut String) -> usize {
    let count = lines.iter().take_while(|line| kind(line) == BlockKind::Table).count();
    let cells = |line: &&str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| inline(cell.trim())).collect()
    };
    let mut rows: Vec<Vec<String>> = lines[..count].iter().map(cells).collect();
    let widths = widths(&rows);
    let rule = |width: &usize| "-".repeat(*width);
    if let Some(second) = rows.get_mut(1) {
        *second = widths.iter().map(rule).collect();
    }
    for row in &rows {
        put_row(row, &widths, out);
    }
    count
}

/// Column widths: as wide as their cells, the widest ones reduced to fit the line.
fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    // The second row is the rule below the heads.
    let cells = |at: usize| {
        rows.iter().enumerate().filter(|(row, _)| *row != 1).filter_map(move |(_, row)| row.get(at))
    };
    let widest = |at| cells(at).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let word = |cell: &String| cell.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..columns).map(widest).collect();
    let least: Vec<usize> = (0..columns).map(|at| cells(at).map(word).max().unwrap_or(0)).collect();
    while widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1) > WIDTH {
        let shrinkable = (0..columns).filter(|at| widths[*at] > least[*at]);
        let Some(at) = shrinkable.max_by_key(|at| widths[*at]) else { break };
        widths[at] -= 1;
    }
    widths
}

fn put_row(row: &[String], widths: &[usize], out: &mut String) {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| wrapped(cell, *width)).collect();
    for at in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
        let part = |(cell, width): (&Vec<String>, &usize)| {
            format!("{:width$}{:GAP$}", cell.get(at).map_or("", String::as_str), "", width = *width)
        };
        line(&cells.iter().zip(widths).map(part).collect::<String>(), out);
    }
}

/// Wraps to this width; a longer word gets a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Replaces links and bold by their text; a link to a chapter shows the command that prints it.
fn inline(text: &str) -> String {
    let text = text.replace("**", "");
    let (mut out, mut rest) = (String::new(), text.as_str());
    while let Some((before, name, target, after)) = link(rest) {
        let file = target.split('#').next().unwrap_or_default();
        out.push_str(before);
        out.push_str(name);
        if let Some(topic) = file.strip_suffix(".md") {
            out.push_str(&format!(" (rsp help {topic})"));
        }
        rest = after;
    }
    out + rest
}

/// The first `[name](target)`, and the text on both sides of it.
fn link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (left, right) = text.split_once("](")?;
    let (before, name) = left.rsplit_once('[')?;
    let (target, after) = right.split_once(')')?;
    Some((before, name, target, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_and_list_items_are_indented() {
        let long = "word ".repeat(20);
        assert_eq!(plain(&long), format!("{}\n{}\n", ["word"; 16].join(" "), ["word"; 4].join(" ")));
        let item = plain(&format!("- {long}\n- next\n  line\n"));
        let lines: Vec<&str> = item.lines().collect();
        assert!(lines[0].starts_with("- word") && lines[1].starts_with("  word"), "{item}");
        assert_eq!(lines[2], "- next line");
    }

    #[test]
    fn code_is_indented_and_never_wrapped() {
        let wide = "x".repeat(200);
        assert_eq!(
            plain(&format!("Text:\n\n```sh\n{wide}\n# no heading\n```\n")),
            format!("Text:\n\n    {wide}\n    # no heading\n")
        );
        assert_eq!(
            plain("1. item\n\n   ```sh\n   a\n   ```\n   ```lua\n   b\n   ```\n"),
            "1. item\n\n       a\n\n       b\n"
        );
    }

    #[test]
    fn table_columns_are_aligned_and_fit_the_line() {
        assert_eq!(plain("| a | b |\n|---|---|\n| long | x |\n"), "a     b\n----  -\nlong  x\n");
        let table = plain(&format!("| key | meaning |\n|---|---|\n| `k` | {} |\n", "word ".repeat(30)));
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
        assert!(table.lines().skip(3).all(|line| line.starts_with("     word")), "{table}");
    }

    #[test]
    fn a_link_becomes_its_text_and_a_chapter_its_command() {
        assert_eq!(
            plain("See [the log](logs.md#rotation), [below](#x) and **[a file](../a.lua)**."),
            "See the log (rsp help logs), below and a file.\n"
        );
        assert_eq!(plain("`a[1]` and [::1]:80 (x)"), "`a[1]` and [::1]:80 (x)\n");
    }
}
