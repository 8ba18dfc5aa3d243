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
pub(super) struct Binding {
    name: String,
    pub(super) kind: Kind,
    /// It comes from the client.
    pub(super) tainted: bool,
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
    pub(super) known: &'a Known<'a>,
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

    pub(super) fn warn(&mut self, line: usize, text: String) {
        self.warnings.push((line, text));
    }

    fn bind(&mut self, name: &str, kind: Kind, tainted: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(Binding { name: name.to_owned(), kind, tainted });
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Binding> {
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
            Statement::Return(values) => self.returned(values, line),
            Statement::Break | Statement::Goto | Statement::Label => {}
            other => self.blocks_of(other),
        }
    }

    /// A statement with blocks.
    fn blocks_of(&mut self, statement: &Statement) {
        match statement {
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
            _ => {}
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
            "global '{name}' is assigned while requests run: this line raises then; expected local, or \
             script = {{ globals = true }} in rsp.settings"
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
    pub(super) fn function(&mut self, function: &Rc<Function>, kinds: &[Kind]) -> usize {
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

    pub(super) fn value(&mut self, node: &Node) -> Kind {
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

    /// What an expression holds, without a note that it is used.
    pub(super) fn peek(&self, node: &Node) -> Kind {
        match &node.expr {
            Expr::Name(name) => match self.find(name) {
                Some(binding) => binding.kind,
                None if name == "rsp" => Kind::Rsp,
                None => Kind::Unknown,
            },
            _ => Kind::Unknown,
        }
    }
}
