//! Fields and calls: the functions of `rsp` that take handlers and tables, and those that take patterns.

use super::fields;
use super::syntax::{Expr, Node};
use super::walk::{Kind, PoolFacts, Walk};

impl Walk<'_> {
    pub(super) fn index(&mut self, base: &Node, key: &Node, line: usize) -> Kind {
        let kind = self.value(base);
        let Expr::Text(field) = &key.expr else {
            self.value(key);
            return Kind::Unknown;
        };
        let wrong = fields::read(kind, field, self.known.rsp);
        wrong.into_iter().for_each(|wrong| self.warn(line, wrong));
        self.texts.push(field.clone());
        if kind == Kind::Request && field == "tls" { Kind::Tls } else { Kind::Unknown }
    }

    pub(super) fn call(&mut self, function: &Node, arguments: &[Node], line: usize) -> Kind {
        let Expr::Index(base, key) = &function.expr else {
            self.value(function);
            arguments.iter().for_each(|argument| _ = self.value(argument));
            return Kind::Unknown;
        };
        let of_rsp = self.peek(base) == Kind::Rsp;
        self.value(function);
        match &key.expr {
            Expr::Text(name) if of_rsp => self.call_of_rsp(name, arguments, line),
            Expr::Text(name) => {
                arguments.iter().for_each(|argument| _ = self.value(argument));
                let is_string = matches!(&base.expr, Expr::Name(library) if library == "string");
                if is_string && let Some(pattern) = arguments.get(1) {
                    self.pattern(name, pattern, arguments.get(3), line);
                }
                Kind::Unknown
            }
            _ => {
                arguments.iter().for_each(|argument| _ = self.value(argument));
                Kind::Unknown
            }
        }
    }

    fn call_of_rsp(&mut self, name: &str, arguments: &[Node], line: usize) -> Kind {
        use Kind::{Connection, Request, Response};
        let kinds: &[Kind] = match name {
            "on_request" => &[Request],
            "on_response" | "on_answer" | "on_log" => &[Request, Response],
            "on_connect" => &[Connection],
            "on_start" | "every" => &[],
            "pool" => return self.pool(arguments, line),
            "listen" => {
                arguments.iter().for_each(|argument| self.options(argument, &["sni"], &[]));
                return Kind::Unknown;
            }
            _ => {
                for argument in arguments {
                    self.keys(name, argument);
                    self.value(argument);
                }
                return Kind::Unknown;
            }
        };
        for argument in arguments {
            let number = self.handler(argument, kinds);
            if name == "on_request" {
                self.on_request = number;
            }
        }
        Kind::Unknown
    }

    fn handler(&mut self, node: &Node, kinds: &[Kind]) -> Option<usize> {
        let kind = match &node.expr {
            Expr::Function(function) => Kind::Function(self.function(function, kinds)),
            _ => self.value(node),
        };
        let Kind::Function(number) = kind else { return None };
        self.handlers.push(number);
        Some(number)
    }

    fn pool(&mut self, arguments: &[Node], line: usize) -> Kind {
        let mut name = None;
        for argument in arguments {
            if let Expr::Table(entries) = &argument.expr {
                let is_name = |key: &Option<Node>| matches!(key, Some(Node { expr: Expr::Text(key), .. }) if key == "name");
                name = entries.iter().find_map(|(key, value)| match &value.expr {
                    Expr::Text(text) if is_name(key) => Some(text.clone()),
                    _ => None,
                });
            }
            self.options(argument, &["balance", "hash_by"], &[Kind::Request]);
        }
        // Until it is seen in a variable of its own.
        self.pools.push(PoolFacts { line, name, used: true });
        Kind::Pool(self.pools.len() - 1)
    }

    /// A table of options, of which these are functions.
    fn options(&mut self, node: &Node, functions: &[&str], kinds: &[Kind]) {
        let Expr::Table(entries) = &node.expr else {
            self.value(node);
            return;
        };
        for (key, value) in entries {
            match key.as_ref().map(|key| &key.expr) {
                Some(Expr::Text(key)) if functions.contains(&key.as_str()) => _ = self.handler(value, kinds),
                // Its own name is no use of a pool.
                Some(Expr::Text(key)) if key == "name" && matches!(value.expr, Expr::Text(_)) => {}
                _ => _ = self.value(value),
            }
        }
    }

    fn keys(&mut self, function: &str, node: &Node) {
        let Expr::Table(entries) = &node.expr else { return };
        for (key, value) in entries {
            let Some(Node { expr: Expr::Text(key), line }) = key else { continue };
            let wrong = fields::key(function, key);
            wrong.into_iter().for_each(|wrong| self.warn(*line, wrong));
            if function == "respond" && key == "status" && matches!(value.expr, Expr::Text(_)) {
                self.warn(
                    *line,
                    "rsp.respond: status: got a string, expected a number from 200 to 599".into(),
                );
            }
        }
    }

    pub(super) fn method(&mut self, object: &Node, name: &str, arguments: &[Node], line: usize) {
        let kind = self.value(object);
        arguments.iter().for_each(|argument| _ = self.value(argument));
        match kind {
            Kind::Rsp => {
                self.warn(line, format!("rsp:{name}: called with a colon, expected a dot: rsp.{name}"))
            }
            Kind::Request if name == "body" => {}
            Kind::Request | Kind::Response | Kind::Connection => {
                let wrong = fields::read(kind, name, self.known.rsp);
                wrong.into_iter().for_each(|wrong| self.warn(line, wrong));
            }
            _ => {}
        }
        // Another object's `match` may take the text, as that of `rsp.regex` does.
        if self.is_text(object)
            && let Some(pattern) = arguments.first()
        {
            self.pattern(name, pattern, arguments.get(2), line);
        }
    }

    /// A pattern that a client can choose may take long, or match what it should not.
    fn pattern(&mut self, function: &str, pattern: &Node, plain: Option<&Node>, line: usize) {
        let takes_pattern = matches!(function, "find" | "match" | "gmatch" | "gsub");
        let is_plain =
            function == "find" && plain.is_some_and(|plain| matches!(plain.expr, Expr::Boolean(true)));
        if takes_pattern && !is_plain && self.is_tainted(pattern) {
            let plainly = "expected a fixed one, or find(…, 1, true)";
            self.warn(line, format!("{function}: the pattern comes from the client, {plainly}"));
        }
    }

    /// Whether it is certainly a string.
    fn is_text(&self, node: &Node) -> bool {
        match &node.expr {
            Expr::Text(_) => true,
            Expr::Binary(operator, ..) => operator == "..",
            _ => self.is_tainted(node),
        }
    }

    /// Whether a client chooses the text.
    pub(super) fn is_tainted(&self, node: &Node) -> bool {
        const CHOSEN: [&str; 7] = ["path", "query", "host", "target", "headers", "cookies", "args"];
        const KEEP: [&str; 4] = ["lower", "upper", "sub", "rep"];
        match &node.expr {
            Expr::Index(base, key) if self.peek(base) == Kind::Request => {
                matches!(&key.expr, Expr::Text(field) if CHOSEN.contains(&field.as_str()))
            }
            Expr::Index(base, _) => self.is_tainted(base),
            Expr::Name(name) => self.find(name).is_some_and(|binding| binding.tainted),
            Expr::Binary(operator, left, right) if matches!(operator.as_str(), ".." | "or" | "and") => {
                self.is_tainted(left) || self.is_tainted(right)
            }
            Expr::Method(object, name, _) => KEEP.contains(&name.as_str()) && self.is_tainted(object),
            _ => false,
        }
    }
}
