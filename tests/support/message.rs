//! HTTP/1 messages in tests, parsed independently of rsp's codec, so that both are unlikely to be wrong in the same
//! way.

/// A start line and its fields, as received.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Parses a head without its final empty line.
    pub fn parse(text: &str) -> Head {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_string();
        let fields = lines.filter(|line| !line.is_empty()).map(field_of).collect();
        Head { line, fields }
    }

    /// The first value of a field, ignoring case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }

    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether a comma-separated field contains this word.
    pub fn says(&self, name: &str, word: &str) -> bool {
        self.all(name).iter().any(|value| value.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    }

    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response head; 0 if its line has none.
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length").map(|value| value.parse().expect("a Content-Length"))
    }
}

fn field_of(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}"));
    (name.to_string(), value.trim().to_string())
}

/// Body framing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    #[default]
    None,
    Exact(u64),
    Chunked,
    UntilClose,
}

pub fn request_framing(head: &Head) -> Framing {
    match (head.says("transfer-encoding", "chunked"), head.length()) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Exact(length),
        (false, None) => Framing::None,
    }
}

pub fn response_framing(head: &Head, method: &str) -> Framing {
    let status = head.status();
    if method == "HEAD" || status == 204 || status == 304 || status < 200 {
        return Framing::None;
    }
    match request_framing(head) {
        Framing::None => Framing::UntilClose,
        framing => framing,
    }
}

/// A complete message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub head: Head,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
