//! Walks a script's tree with its scopes, and notes what warnings are made from: what each function returns and calls,
//! which are handlers, and where pools are used.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::syntax::{Block, Expr, Function, Node, Statement};
use super::{fields, flow};
use crate::script::nearest;

/// What a name or an expression holds, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Unknown,
    Rsp,
    Request,
    Response,
    Connection,
    Tls,
    /// By its number in `Walk::functions`.
    Function(usize),
    /// By its number in `Walk::pools`.
    Pool(usize),
}

#[derive(Clone)]
struct Binding {
    name: String,
    kind: Kind,
    /// It comes from the client.
    tainted: bool,
}

/// What a function returns on one of its ways.
pub(super) enum Returned {
    Nothing,
    Text(String),
    /// What a function of the script returns.
    Call(usize),
    Literal(&'static str),
    Other,
}

/// A function of the script; the first is the whole script.
#[derive(Default)]
pub(super) struct FunctionFacts {
    pub returns: Vec<(usize, Returned)>,
    /// Functions that it may call, also those within it.
    pub calls: Vec<usize>,
    pub calls_globals: Vec<String>,
    /// What is wrong if it runs for requests.
    pub if_handler: Vec<(usize, String)>,
    /// Its end, if that is reached.
    pub falls_through: Option<usize>,
}

/// A call of `rsp.pool`.
pub(super) struct PoolFacts {
    pub line: usize,
    pub name: Option<String>,
    /// A variable that holds it is read, or nobody can know.
    pub used: bool,
}

/// What is known before the walk.
pub(super) struct Known<'a> {
    /// Of the VM, once the config has run, and all that any text assigns.
    pub globals: &'a BTreeSet<String>,
    pub rsp: &'a [String],
}

pub(super) struct Walk<'a> {
    known: &'a Known<'a>,
    scopes: Vec<Vec<Binding>>,
    current: usize,
    pub functions: Vec<FunctionFacts>,
    pub global_functions: Vec<(String, usize)>,
    /// Globals that are assigned anywhere.
    pub assigned: Vec<String>,
    /// The function of `on_request`, if it is known.
    pub on_request: Option<usize>,
    pub handlers: Vec<usize>,
    pub pools: Vec<PoolFacts>,
    pub warnings: Vec<(usize, String)>,
    /// Globals that are read where nil would be an error, with their message.
    pub missing: Vec<(usize, String, String)>,
    /// Globals that the script asks for whether they are there.
    pub tested: BTreeSet<String>,
    /// All texts, which may name pools.
    pub texts: Vec<String>,
    /// The text of a pool's name may be put together.
    pub builds_texts: bool,
}

impl<'a> Walk<'a> {
    pub fn of(tree: &Function, known: &'a Known<'a>) -> Walk<'a> {
        let mut walk = Walk {
            known,
            scopes: Vec::new(),
            current: 0,
            functions: vec![FunctionFacts::default()],
            global_functions: Vec::new(),
            assigned: Vec::new(),
            on_request: None,
            handlers: Vec::new(),
            pools: Vec::new(),
            warnings: Vec::new(),
            missing: Vec::new(),
            tested: BTreeSet::new(),
            texts: Vec::new(),
            builds_texts: false,
        };
        walk.block(&tree.body);
        walk
    }

    fn warn(&mut self, line: usize, text: String) {
        self.warnings.push((line, text));
    }

    fn bind(&mut self, name: &str, kind: Kind, tainted: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(Binding { name: name.to_owned(), kind, tainted });
        }
    }

    fn find(&self, name: &str) -> Option<&Binding> {
        self.scopes.iter().rev().flat_map(|scope| scope.iter().rev()).find(|binding| binding.name == name)
    }

    fn block(&mut self, block: &Block) {
        self.scopes.push(Vec::new());
        self.statements(block);
        self.scopes.pop();
    }

    fn statements(&mut self, block: &Block) {
        if let Some(line) = flow::unreachable(block) {
            self.warn(line, "nothing reaches this line: what is before it never ends here".into());
        }
        for (statement, line) in block {
            self.statement(statement, *line);
        }
    }

    fn statement(&mut self, statement: &Statement, line: usize) {
        match statement {
            Statement::Local(names, values) => self.local(names, values),
            Statement::LocalFunction(name, function) => {
                self.bind(name, Kind::Function(self.functions.len()), false);
                self.function(function, &[]);
            }
            Statement::Function(target, function) => {
                let number = self.function(function, &[]);
                match &target.expr {
                    Expr::Name(name) if self.find(name).is_none() => {
                        self.global_functions.push((name.clone(), number));
                        self.assigned_global(name, line);
                    }
                    _ => self.assign(target),
                }
            }
            Statement::Assign(targets, values) => {
                values.iter().for_each(|value| _ = self.value(value));
                targets.iter().for_each(|target| self.assign(target));
            }
            Statement::Call(call) => {
                // A pool that no variable holds can only be named.
                if let Kind::Pool(pool) = self.value(call) {
                    self.pools[pool].used = false;
                }
            }
            Statement::Do(body) => self.block(body),
            Statement::While(condition, body) => {
                self.test(condition);
                self.block(body);
            }
            Statement::Repeat(body, condition) => {
                self.scopes.push(Vec::new());
                self.statements(body);
                self.test(condition);
                self.scopes.pop();
            }
            Statement::If(arms, otherwise) => {
                for (condition, body) in arms {
                    self.test(condition);
                    self.block(body);
                }
                otherwise.iter().for_each(|body| self.block(body));
            }
            Statement::For(names, over, body) => {
                over.iter().for_each(|value| _ = self.value(value));
                let tainted = over.iter().any(|value| self.is_tainted(value));
                self.scopes.push(Vec::new());
                names.iter().for_each(|name| self.bind(name, Kind::Unknown, tainted));
                self.block(body);
                self.scopes.pop();
            }
            Statement::Return(values) => self.returned(values, line),
            Statement::Break | Statement::Goto | Statement::Label => {}
        }
    }

    fn local(&mut self, names: &[String], values: &[Node]) {
        let mut made = Vec::new();
        for value in values {
            let pools = self.pools.len();
            let mut kind = self.value(value);
            // Only what is the value itself can be followed; a name for another name is a use of it.
            match kind {
                Kind::Pool(_) if self.pools.len() == pools => kind = Kind::Unknown,
                Kind::Pool(pool) => self.pools[pool].used = false,
                _ => {}
            }
            made.push((kind, self.is_tainted(value)));
        }
        for (at, name) in names.iter().enumerate() {
            let (kind, tainted) = made.get(at).copied().unwrap_or((Kind::Unknown, false));
            self.bind(name, kind, tainted);
        }
    }

    fn assign(&mut self, target: &Node) {
        match &target.expr {
            Expr::Name(name) if self.find(name).is_none() => self.assigned_global(name, target.line),
            Expr::Name(name) => {
                let found = self.scopes.iter_mut().rev().flat_map(|scope| scope.iter_mut().rev());
                if let Some(binding) = found.into_iter().find(|binding| binding.name == *name) {
                    binding.kind = Kind::Unknown;
                }
            }
            Expr::Index(base, key) => {
                let kind = self.value(base);
                if let Expr::Text(field) = &key.expr {
                    let wrong = fields::write(kind, field, self.known.rsp);
                    wrong.into_iter().for_each(|wrong| self.warn(target.line, wrong));
                } else {
                    self.value(key);
                }
            }
            _ => {}
        }
    }

    fn assigned_global(&mut self, name: &str, line: usize) {
        self.assigned.push(name.to_owned());
        let text = format!(
            "global '{name}' is assigned while requests run: each worker has its own, and a reload begins anew; \
             expected local"
        );
        if self.current != 0 {
            self.functions[self.current].if_handler.push((line, text));
        }
    }

    fn returned(&mut self, values: &[Node], line: usize) {
        let returned = match values.first().map(|value| &value.expr) {
            None | Some(Expr::Nil) => Returned::Nothing,
            Some(Expr::Text(text)) => Returned::Text(text.clone()),
            Some(Expr::Number) => Returned::Literal("a number"),
            Some(Expr::Boolean(_)) => Returned::Literal("a boolean"),
            Some(Expr::Table(_)) => Returned::Literal("a table"),
            Some(Expr::Function(_)) => Returned::Literal("a function"),
            Some(Expr::Call(function, _)) if values.len() == 1 => match self.peek(function) {
                Kind::Function(number) => Returned::Call(number),
                _ => Returned::Other,
            },
            Some(Expr::Binary(operator, ..)) if operator == ".." => {
                self.builds_texts = true;
                Returned::Other
            }
            Some(_) => {
                self.builds_texts |= self.is_tainted(&values[0]);
                Returned::Other
            }
        };
        values.iter().for_each(|value| _ = self.value(value));
        self.functions[self.current].returns.push((line, returned));
    }

    /// Walks a function, whose first parameters are of these kinds. Returns its number.
    fn function(&mut self, function: &Rc<Function>, kinds: &[Kind]) -> usize {
        let (number, outer) = (self.functions.len(), self.current);
        let falls_through = (!flow::block_ends(&function.body)).then_some(function.end);
        self.functions.push(FunctionFacts { falls_through, ..FunctionFacts::default() });
        if outer != 0 {
            self.functions[outer].calls.push(number);
        }
        self.current = number;
        self.scopes.push(Vec::new());
        for (at, name) in function.parameters.iter().enumerate() {
            let by_name = match name.as_str() {
                "req" => Kind::Request,
                "res" => Kind::Response,
                "conn" => Kind::Connection,
                _ => Kind::Unknown,
            };
            self.bind(name, kinds.get(at).copied().unwrap_or(by_name), false);
        }
        self.block(&function.body);
        self.scopes.pop();
        self.current = outer;
        number
    }

    /// Where nil is as good as any value.
    fn test(&mut self, node: &Node) -> Kind {
        if let Expr::Name(name) = &node.expr
            && self.find(name).is_none()
        {
            self.tested.insert(name.clone());
        }
        self.value(node)
    }

    fn value(&mut self, node: &Node) -> Kind {
        match &node.expr {
            Expr::Name(name) => return self.name(name, node.line),
            Expr::Text(text) => self.texts.push(text.clone()),
            Expr::Function(function) => return Kind::Function(self.function(function, &[])),
            Expr::Index(base, key) => return self.index(base, key, node.line),
            Expr::Call(function, arguments) => return self.call(function, arguments, node.line),
            Expr::Method(object, name, arguments) => self.method(object, name, arguments, node.line),
            Expr::Table(entries) => {
                for (key, value) in entries {
                    if let Some(key) = key.as_ref().filter(|key| !matches!(key.expr, Expr::Text(_))) {
                        self.value(key);
                    }
                    self.value(value);
                }
            }
            Expr::Binary(operator, left, right) => {
                if matches!(operator.as_str(), "and" | "or" | "==" | "~=") {
                    self.test(left);
                    self.test(right);
                } else {
                    self.value(left);
                    self.value(right);
                }
            }
            Expr::Unary(operator, operand) if operator == "not" => _ = self.test(operand),
            Expr::Unary(_, operand) => _ = self.value(operand),
            Expr::Nil | Expr::Boolean(_) | Expr::Number | Expr::Vararg => {}
        }
        Kind::Unknown
    }

    fn name(&mut self, name: &str, line: usize) -> Kind {
        if let Some(binding) = self.find(name) {
            let kind = binding.kind;
            match kind {
                Kind::Function(number) => self.functions[self.current].calls.push(number),
                Kind::Pool(pool) => self.pools[pool].used = true,
                _ => {}
            }
            return kind;
        }
        self.functions[self.current].calls_globals.push(name.to_owned());
        if name == "rsp" {
            return Kind::Rsp;
        }
        if !self.known.globals.contains(name) && name != "_ENV" {
            let locals = self.scopes.iter().flatten().map(|binding| binding.name.as_str());
            let hint = nearest::hint(name.as_bytes(), locals);
            let hint = if hint.starts_with("did you mean") { format!(", {hint}") } else { String::new() };
            let text = format!("global '{name}' is nil here: nothing assigns it{hint}");
            self.missing.push((line, name.to_owned(), text));
        }
        Kind::Unknown
    }

    fn index(&mut self, base: &Node, key: &Node, line: usize) -> Kind {
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

    /// What an expression holds, without a note that it is used.
    fn peek(&self, node: &Node) -> Kind {
        match &node.expr {
            Expr::Name(name) => match self.find(name) {
                Some(binding) => binding.kind,
                None if name == "rsp" => Kind::Rsp,
                None => Kind::Unknown,
            },
            _ => Kind::Unknown,
        }
    }

    fn call(&mut self, function: &Node, arguments: &[Node], line: usize) -> Kind {
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

    fn method(&mut self, object: &Node, name: &str, arguments: &[Node], line: usize) {
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
    fn is_tainted(&self, node: &Node) -> bool {
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
