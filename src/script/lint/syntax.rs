//! Lua as a tree, as far as warnings need it. Only texts that Lua itself has compiled are parsed: what is not
//! understood ends the parse without a tree, and nothing is warned of.

use std::rc::Rc;

use crate::script::tokens::{self, LuaToken};

#[derive(Debug)]
pub(super) enum Expr {
    Nil,
    Boolean(bool),
    Number,
    Text(String),
    Vararg,
    Function(Rc<Function>),
    Name(String),
    Index(Box<Node>, Box<Node>),
    Call(Box<Node>, Vec<Node>),
    Method(Box<Node>, String, Vec<Node>),
    /// Entries with a key, and those without.
    Table(Vec<(Option<Node>, Node)>),
    Binary(String, Box<Node>, Box<Node>),
    Unary(String, Box<Node>),
}

/// An expression and its line.
#[derive(Debug)]
pub(super) struct Node {
    pub expr: Expr,
    pub line: usize,
}

#[derive(Debug)]
pub(super) struct Function {
    pub parameters: Vec<String>,
    pub body: Block,
    /// Of its `end`.
    pub end: usize,
}

pub(super) type Block = Vec<(Statement, usize)>;

#[derive(Debug)]
pub(super) enum Statement {
    Local(Vec<String>, Vec<Node>),
    LocalFunction(String, Rc<Function>),
    Function(Node, Rc<Function>),
    Assign(Vec<Node>, Vec<Node>),
    Call(Node),
    Do(Block),
    While(Node, Block),
    Repeat(Block, Node),
    If(Vec<(Node, Block)>, Option<Block>),
    For(Vec<String>, Vec<Node>, Block),
    Return(Vec<Node>),
    Break,
    Goto,
    Label,
}

/// The tree of a script.
pub(super) fn parse(text: &[u8]) -> Option<Function> {
    let tokens = tokens::of(text);
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let body = parser.block()?;
    (parser.at == tokens.len()).then(|| Function { parameters: Vec::new(), body, end: parser.line() })
}

pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [(LuaToken<'a>, usize)],
    pub(super) at: usize,
}

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

impl Parser<'_> {
    pub(super) fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.1)
    }

    /// The next token's text, unless it is a literal.
    pub(super) fn word(&self) -> Option<String> {
        Some(match self.tokens.get(self.at)?.0 {
            LuaToken::Name(text) | LuaToken::Operator(text) => String::from_utf8_lossy(text).into_owned(),
            LuaToken::Symbol(byte) => (byte as char).to_string(),
            LuaToken::Text(_) | LuaToken::Number(_) => return None,
        })
    }

    pub(super) fn is(&self, word: &str) -> bool {
        match self.tokens.get(self.at).map(|token| token.0) {
            Some(LuaToken::Name(text) | LuaToken::Operator(text)) => text == word.as_bytes(),
            Some(LuaToken::Symbol(byte)) => word.as_bytes() == [byte],
            _ => false,
        }
    }

    pub(super) fn takes(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    pub(super) fn needs(&mut self, word: &str) -> Option<()> {
        self.takes(word).then_some(())
    }

    pub(super) fn name(&mut self) -> Option<String> {
        match self.tokens.get(self.at)?.0 {
            LuaToken::Name(text) if !KEYWORDS.iter().any(|word| word.as_bytes() == text) => {
                self.at += 1;
                Some(String::from_utf8_lossy(text).into_owned())
            }
            _ => None,
        }
    }

    fn block(&mut self) -> Option<Block> {
        let mut block = Vec::new();
        loop {
            while self.takes(";") {}
            let ends = ["end", "else", "elseif", "until"].iter().any(|word| self.is(word));
            if ends || self.at == self.tokens.len() {
                return Some(block);
            }
            let line = self.line();
            block.push((self.statement()?, line));
        }
    }

    fn statement(&mut self) -> Option<Statement> {
        let word = self.word()?;
        // `goto` may be a name, but nobody does that.
        let known =
            ["if", "while", "do", "for", "repeat", "function", "local", "return", "break", "goto", "::"];
        if !known.contains(&word.as_str()) {
            return self.assignment_or_call();
        }
        self.at += 1;
        match word.as_str() {
            "if" => self.conditional(),
            "while" => {
                let condition = self.expression(0)?;
                self.needs("do")?;
                Some(Statement::While(condition, self.until_end()?))
            }
            "do" => self.until_end().map(Statement::Do),
            "for" => self.loops(),
            "repeat" => {
                let body = self.block()?;
                self.needs("until")?;
                Some(Statement::Repeat(body, self.expression(0)?))
            }
            "function" => self.named_function(),
            "local" => self.local(),
            "return" => {
                let ends = ["end", "else", "elseif", "until", ";"].iter().any(|word| self.is(word));
                let values = if ends || self.at == self.tokens.len() { Vec::new() } else { self.list()? };
                Some(Statement::Return(values))
            }
            "break" => Some(Statement::Break),
            "goto" => self.name().map(|_| Statement::Goto),
            _ => {
                self.name()?;
                self.needs("::").map(|()| Statement::Label)
            }
        }
    }

    fn until_end(&mut self) -> Option<Block> {
        let body = self.block()?;
        self.needs("end").map(|()| body)
    }

    fn conditional(&mut self) -> Option<Statement> {
        let (mut arms, mut otherwise) = (Vec::new(), None);
        loop {
            let condition = self.expression(0)?;
            self.needs("then")?;
            arms.push((condition, self.block()?));
            if !self.takes("elseif") {
                break;
            }
        }
        if self.takes("else") {
            otherwise = Some(self.block()?);
        }
        self.needs("end").map(|()| Statement::If(arms, otherwise))
    }

    fn loops(&mut self) -> Option<Statement> {
        let mut names = vec![self.name()?];
        while self.takes(",") {
            names.push(self.name()?);
        }
        if !self.takes("=") {
            self.needs("in")?;
        }
        let over = self.list()?;
        self.needs("do")?;
        Some(Statement::For(names, over, self.until_end()?))
    }

    fn named_function(&mut self) -> Option<Statement> {
        let line = self.line();
        let mut target = Node { expr: Expr::Name(self.name()?), line };
        let mut is_method = false;
        while !is_method && (self.is(".") || self.is(":")) {
            is_method = self.is(":");
            self.at += 1;
            let key = Node { expr: Expr::Text(self.name()?), line };
            target = Node { expr: Expr::Index(Box::new(target), Box::new(key)), line };
        }
        let function = self.function(is_method)?;
        Some(Statement::Function(target, Rc::new(function)))
    }

    fn local(&mut self) -> Option<Statement> {
        if self.takes("function") {
            let name = self.name()?;
            return Some(Statement::LocalFunction(name, Rc::new(self.function(false)?)));
        }
        let mut names = Vec::new();
        loop {
            names.push(self.name()?);
            if self.takes("<") {
                self.name()?;
                self.needs(">")?;
            }
            if !self.takes(",") {
                break;
            }
        }
        let values = if self.takes("=") { self.list()? } else { Vec::new() };
        Some(Statement::Local(names, values))
    }

    /// After `function`, or its name.
    pub(super) fn function(&mut self, is_method: bool) -> Option<Function> {
        let mut parameters: Vec<String> = is_method.then(|| "self".to_owned()).into_iter().collect();
        self.needs("(")?;
        while !self.takes(")") {
            if !self.takes("...") {
                parameters.push(self.name()?);
            }
            let _ = self.takes(",");
        }
        let body = self.block()?;
        let end = self.line();
        self.needs("end").map(|()| Function { parameters, body, end })
    }

    fn assignment_or_call(&mut self) -> Option<Statement> {
        let first = self.suffixed()?;
        if !self.is("=") && !self.is(",") {
            let is_call = matches!(first.expr, Expr::Call(..) | Expr::Method(..));
            return is_call.then_some(Statement::Call(first));
        }
        let mut targets = vec![first];
        while self.takes(",") {
            targets.push(self.suffixed()?);
        }
        self.needs("=")?;
        Some(Statement::Assign(targets, self.list()?))
    }

    pub(super) fn list(&mut self) -> Option<Vec<Node>> {
        let mut list = vec![self.expression(0)?];
        while self.takes(",") {
            list.push(self.expression(0)?);
        }
        Some(list)
    }
}
