//! The contents of a file of `rsp.map`: lines `key value`, as an index that never changes. Hundreds of thousands of
//! entries are a few large blocks of memory, so that a new file takes the place of an old one at once.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;
use ipnet::IpNet;

use super::networks::{Networks, canonical};

/// How keys are compared with what is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapKind {
    Exact,
    Prefix,
    Suffix,
    Cidr,
}

impl MapKind {
    pub const ALL: [(&str, MapKind); 4] = [
        ("exact", MapKind::Exact),
        ("prefix", MapKind::Prefix),
        ("suffix", MapKind::Suffix),
        ("cidr", MapKind::Cidr),
    ];
}

/// What is wrong with a file: the line, and the reason.
pub type BadLine = (usize, String);

/// Entries of one file.
const MOST: usize = 10_000_000;

pub struct Map {
    keys: Texts,
    /// By entry: the number of its value.
    value_of: Vec<u32>,
    values: Texts,
    index: Index,
}

enum Index {
    Exact(HashTable<u32>, RandomState),
    /// Entries are sorted. By entry, the longest other one that it begins with, or `NONE`.
    Sorted {
        around: Vec<u32>,
        from_end: bool,
    },
    Networks(Networks),
}

const NONE: u32 = u32::MAX;

impl Map {
    pub fn parse(text: &[u8], kind: MapKind) -> Result<Map, BadLine> {
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if let Some((key, value)) = entry(line).map_err(|why| (number, why.to_owned()))? {
                entries.push(Line { key, value, number });
            }
            if entries.len() > MOST {
                return Err((number, format!("too many entries, expected at most {MOST}")));
            }
        }
        match kind {
            MapKind::Cidr => Map::of_networks(entries),
            MapKind::Exact => Map::exact(entries),
            MapKind::Prefix => Map::sorted(entries, false),
            MapKind::Suffix => Map::sorted(entries, true),
        }
    }

    pub fn len(&self) -> usize {
        self.value_of.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the longest key that matches.
    pub fn get(&self, text: &[u8]) -> Option<&[u8]> {
        let entry = match &self.index {
            Index::Exact(table, state) => {
                *table.find(state.hash_one(text), |entry| self.keys.get(*entry) == text)?
            }
            Index::Sorted { around, from_end } => self.find(text, around, *from_end)?,
            Index::Networks(networks) => {
                networks.find(std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok()?)?
            }
        };
        Some(self.values.get(self.value_of[entry as usize]))
    }

    /// The longest key that the text begins with is the last one that is not after it, or one around that.
    fn find(&self, text: &[u8], around: &[u32], from_end: bool) -> Option<u32> {
        let matches = |key: &[u8]| match from_end {
            true => text.len() >= key.len() && key.iter().eq(text.iter().rev().take(key.len())),
            false => text.starts_with(key),
        };
        let is_after = |key: &[u8]| match from_end {
            true => key.iter().gt(text.iter().rev()),
            false => key > text,
        };
        let (mut low, mut high) = (0, self.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match is_after(self.keys.get(middle)) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        let mut entry = low.checked_sub(1)?;
        while !matches(self.keys.get(entry)) {
            entry = around[entry as usize];
            if entry == NONE {
                return None;
            }
        }
        Some(entry)
    }

    fn exact(mut lines: Vec<Line<'_>>) -> Result<Map, BadLine> {
        lines.sort_by(|a, b| a.key.cmp(b.key).then(a.number.cmp(&b.number)));
        let lines = without_repeats(lines)?;
        let (keys, state) = (Texts::of(lines.iter().map(|line| line.key)), RandomState::new());
        let mut table = HashTable::with_capacity(lines.len());
        for entry in 0..lines.len() as u32 {
            let hash = |entry: &u32| state.hash_one(keys.get(*entry));
            table.insert_unique(hash(&entry), entry, hash);
        }
        Ok(Map::with(keys, &lines, Index::Exact(table, state)))
    }

    fn sorted(mut lines: Vec<Line<'_>>, from_end: bool) -> Result<Map, BadLine> {
        match from_end {
            true => {
                lines.sort_by(|a, b| a.key.iter().rev().cmp(b.key.iter().rev()).then(a.number.cmp(&b.number)))
            }
            false => lines.sort_by(|a, b| a.key.cmp(b.key).then(a.number.cmp(&b.number))),
        }
        let lines = without_repeats(lines)?;
        let keys = match from_end {
            true => Texts::of(lines.iter().map(|line| line.key.iter().rev().copied().collect::<Vec<u8>>())),
            false => Texts::of(lines.iter().map(|line| line.key)),
        };
        let mut around = Vec::with_capacity(lines.len());
        for entry in 0..lines.len() as u32 {
            let mut outer = entry.checked_sub(1).unwrap_or(NONE);
            while outer != NONE && !keys.get(entry).starts_with(keys.get(outer)) {
                outer = around[outer as usize];
            }
            around.push(outer);
        }
        Ok(Map::with(keys, &lines, Index::Sorted { around, from_end }))
    }

    fn of_networks(lines: Vec<Line<'_>>) -> Result<Map, BadLine> {
        let mut networks = Vec::with_capacity(lines.len());
        for line in &lines {
            let network = network(line.key);
            networks.push((
                network.ok_or_else(|| (line.number, "expected a network or an address".into()))?,
                line,
            ));
        }
        networks.sort_by_key(|(network, line)| (*network, line.number));
        for pair in networks.windows(2) {
            if pair[0].0 == pair[1].0 {
                check_repeat(pair[0].1, pair[1].1)?;
            }
        }
        let lines: Vec<Line<'_>> = networks.iter().map(|(_, line)| **line).collect();
        let index = Networks::new(networks.iter().map(|(network, _)| *network).zip(0..));
        Ok(Map::with(Texts::of(std::iter::empty::<&[u8]>()), &lines, Index::Networks(index)))
    }

    fn with(keys: Texts, lines: &[Line<'_>], index: Index) -> Map {
        let mut values: Vec<&[u8]> = lines.iter().map(|line| line.value).collect();
        values.sort_unstable();
        values.dedup();
        let number = |line: &Line<'_>| values.partition_point(|value| *value < line.value) as u32;
        let value_of = lines.iter().map(number).collect();
        Map { keys, value_of, values: Texts::of(values.iter()), index }
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    key: &'a [u8],
    value: &'a [u8],
    number: usize,
}

type KeyAndValue<'a> = (&'a [u8], &'a [u8]);

/// The key and the value of a line; `None` if it has neither.
fn entry(line: &[u8]) -> Result<Option<KeyAndValue<'_>>, &'static str> {
    let line = without_comment(line).trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let Some(end) = line.iter().position(u8::is_ascii_whitespace) else {
        return Err("a key without a value, expected both with a blank between them");
    };
    Ok(Some((&line[..end], line[end..].trim_ascii_start())))
}

/// A comment begins with a `#` at the start of the line or after a blank.
fn without_comment(line: &[u8]) -> &[u8] {
    let begins = |at: &usize| line[*at] == b'#' && (*at == 0 || line[at - 1].is_ascii_whitespace());
    (0..line.len()).find(begins).map_or(line, |at| &line[..at])
}

/// Of sorted lines; the same line twice is harmless.
fn without_repeats(mut lines: Vec<Line<'_>>) -> Result<Vec<Line<'_>>, BadLine> {
    for pair in lines.windows(2) {
        if pair[0].key == pair[1].key {
            check_repeat(&pair[0], &pair[1])?;
        }
    }
    lines.dedup_by(|next, kept| next.key == kept.key);
    Ok(lines)
}

fn check_repeat(first: &Line<'_>, second: &Line<'_>) -> Result<(), BadLine> {
    match first.value == second.value {
        true => Ok(()),
        false => {
            Err((second.number, format!("the same key as on line {}, with another value", first.number)))
        }
    }
}

fn network(text: &[u8]) -> Option<IpNet> {
    let text = std::str::from_utf8(text).ok()?;
    let network = text.parse::<IpNet>().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
    network.map(canonical)
}

/// Many texts in one block.
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn of(texts: impl Iterator<Item = impl AsRef<[u8]>>) -> Texts {
        let mut all = Texts { bytes: Vec::new(), ends: Vec::new() };
        for text in texts {
            all.bytes.extend_from_slice(text.as_ref());
            all.ends.push(all.bytes.len());
        }
        all.bytes.shrink_to_fit();
        all.ends.shrink_to_fit();
        all
    }

    fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(map: &Map, key: &str) -> Option<String> {
        map.get(key.as_bytes()).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    fn check(kind: MapKind, text: &str, cases: &[(&str, Option<&str>)]) {
        let map = Map::parse(text.as_bytes(), kind).map_err(|bad| format!("{bad:?}")).unwrap();
        for (key, value) in cases {
            assert_eq!(get(&map, key).as_deref(), *value, "{kind:?} {key}");
        }
    }

    #[test]
    fn lines_are_keys_and_values_with_comments() {
        let text = "# all\n\n a 1\r\nb  two words  # here\n#c 3\nd# 4\ne #5\t6";
        let bad = Map::parse(text.as_bytes(), MapKind::Exact).err();
        assert_eq!(bad, Some((7, "a key without a value, expected both with a blank between them".into())));
        let text = text.replace("e #5", "e x#5");
        let cases = [
            ("a", Some("1")),
            ("b", Some("two words")),
            ("c", None),
            ("d#", Some("4")),
            ("e", Some("x#5\t6")),
        ];
        check(MapKind::Exact, &text, &cases);
        check(MapKind::Exact, "", &[("", None), ("a", None)]);
        check(MapKind::Prefix, "", &[("", None), ("a", None)]);
        check(MapKind::Cidr, "", &[("", None), ("::1", None)]);
    }

    #[test]
    fn the_longest_match_wins() {
        check(MapKind::Exact, "a 1\nab 2", &[("a", Some("1")), ("ab", Some("2")), ("abc", None), ("", None)]);
        check(
            MapKind::Prefix,
            "/ root\n/api/ api\n/api/v1/ one\n/apiary/ bees\n/b b",
            &[
                ("/", Some("root")),
                ("/api", Some("root")),
                ("/api/", Some("api")),
                ("/api/v1", Some("api")),
                ("/api/v1/x", Some("one")),
                ("/api/v2/x", Some("api")),
                ("/apiary/x", Some("bees")),
                ("/zzz", Some("root")),
                ("", None),
                ("x", None),
            ],
        );
        check(
            MapKind::Suffix,
            ".example.com a\n.www.example.com b\nexample.com c",
            &[
                ("example.com", Some("c")),
                ("x.example.com", Some("a")),
                ("x.www.example.com", Some("b")),
                ("www.example.com", Some("a")),
                ("notexample.com", Some("c")),
                (".com", None),
                ("", None),
            ],
        );
        check(
            MapKind::Cidr,
            "10.0.0.0/8 a\n10.1.0.0/16 b\n192.0.2.1 c\n2001:db8::/32 d",
            &[
                ("10.2.0.1", Some("a")),
                ("10.1.0.1", Some("b")),
                ("192.0.2.1", Some("c")),
                ("192.0.2.2", None),
                ("::ffff:10.1.0.1", Some("b")),
                ("2001:db8::1", Some("d")),
                ("unix:", None),
            ],
        );
    }

    #[test]
    fn it_agrees_with_asking_every_prefix() {
        let mut state = 5_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for _ in 0..200 {
            let mut word =
                |most: usize| -> String { (0..next(most) + 1).map(|_| ['a', 'b'][next(2)]).collect() };
            let mut keys: Vec<String> = (0..20).map(|_| word(6)).collect();
            keys.sort();
            keys.dedup();
            let texts: Vec<String> = (0..100).map(|_| word(8)).collect();
            let file: String = keys.iter().map(|key| format!("{key} <{key}>\n")).collect();
            for kind in [MapKind::Prefix, MapKind::Suffix] {
                let map = Map::parse(file.as_bytes(), kind).unwrap_or_else(|bad| panic!("{bad:?}"));
                for text in &texts {
                    let fits = |key: &&String| match kind {
                        MapKind::Prefix => text.starts_with(key.as_str()),
                        _ => text.ends_with(key.as_str()),
                    };
                    let best = keys.iter().filter(fits).max_by_key(|key| key.len());
                    assert_eq!(
                        get(&map, text),
                        best.map(|key| format!("<{key}>")),
                        "{kind:?} {text} of {file}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (kind, text, line, why) in [
            (MapKind::Exact, "a 1\nb 2\na 3", 3, "the same key as on line 1, with another value"),
            (MapKind::Cidr, "10.0.0.0/8 1\n\n10.0.0.0/33 2", 3, "expected a network or an address"),
            (MapKind::Cidr, "10.0.0.0/8 1\n10.1.0.0/8 2", 2, "the same key as on line 1, with another value"),
        ] {
            assert_eq!(Map::parse(text.as_bytes(), kind).err(), Some((line, why.to_owned())));
        }
        check(MapKind::Exact, "a 1\na 1", &[("a", Some("1"))]);
    }

    #[test]
    fn three_hundred_thousand_entries_are_found() {
        let host = |n: usize| format!("host{n}.example.com");
        let net = |n: usize| format!("{}.{}.{}.0/24", 1 + n / 65536, n / 256 % 256, n % 256);
        let hosts: String = (0..300_000).map(|n| format!("{} v{}\n", host(n), n % 100)).collect();
        let nets: String = (0..300_000).map(|n| format!("{} v{}\n", net(n), n % 100)).collect();
        for kind in [MapKind::Exact, MapKind::Prefix, MapKind::Suffix] {
            let map = Map::parse(hosts.as_bytes(), kind).unwrap_or_else(|bad| panic!("{bad:?}"));
            assert_eq!(map.len(), 300_000);
            for n in (0..300_000).step_by(997) {
                assert_eq!(get(&map, &host(n)), Some(format!("v{}", n % 100)));
            }
            assert_eq!(get(&map, "nowhere"), None);
        }
        let map = Map::parse(nets.as_bytes(), MapKind::Cidr).unwrap_or_else(|bad| panic!("{bad:?}"));
        for n in (0..300_000).step_by(997) {
            assert_eq!(get(&map, &net(n).replace(".0/24", ".77")), Some(format!("v{}", n % 100)));
        }
    }
}
