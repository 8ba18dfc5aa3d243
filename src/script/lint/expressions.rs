//! Expressions, the other half of the parser.

use std::rc::Rc;

use super::syntax::{Expr, Node, Parser};
use crate::script::tokens::LuaToken;

/// How strongly a binary operator binds to its left and right.
fn binding(operator: &str) -> Option<(u8, u8)> {
    Some(match operator {
        "or" => (1, 1),
        "and" => (2, 2),
        "<" | ">" | "<=" | ">=" | "~=" | "==" => (3, 3),
        "|" => (4, 4),
        "~" => (5, 5),
        "&" => (6, 6),
        "<<" | ">>" => (7, 7),
        ".." => (9, 8),
        "+" | "-" => (10, 10),
        "*" | "/" | "//" | "%" => (11, 11),
        "^" => (14, 13),
        _ => return None,
    })
}

const UNARY: u8 = 12;

impl Parser<'_> {
    pub(super) fn expression(&mut self, least: u8) -> Option<Node> {
        let line = self.line();
        let unary = ["not", "-", "#", "~"].iter().find(|word| self.is(word));
        let mut left = match unary {
            Some(operator) => {
                self.at += 1;
                let operand = Box::new(self.expression(UNARY)?);
                Node { expr: Expr::Unary((*operator).to_owned(), operand), line }
            }
            None => self.simple()?,
        };
        while let Some(operator) = self.word()
            && let Some((to_left, to_right)) = binding(&operator)
            && to_left > least
        {
            self.at += 1;
            let right = Box::new(self.expression(to_right)?);
            left = Node { expr: Expr::Binary(operator, Box::new(left), right), line };
        }
        Some(left)
    }

    fn simple(&mut self) -> Option<Node> {
        let line = self.line();
        let expr = match self.tokens.get(self.at)?.0 {
            LuaToken::Number(_) => Expr::Number,
            LuaToken::Text(text) => Expr::Text(unquoted(text)),
            LuaToken::Operator(b"...") => Expr::Vararg,
            LuaToken::Name(b"nil") => Expr::Nil,
            LuaToken::Name(b"true") => Expr::Boolean(true),
            LuaToken::Name(b"false") => Expr::Boolean(false),
            LuaToken::Name(b"function") => {
                self.at += 1;
                return Some(Node { expr: Expr::Function(Rc::new(self.function(false)?)), line });
            }
            LuaToken::Symbol(b'{') => return self.table(),
            _ => return self.suffixed(),
        };
        self.at += 1;
        Some(Node { expr, line })
    }

    /// A name or an expression in brackets, and the fields and calls after it.
    pub(super) fn suffixed(&mut self) -> Option<Node> {
        let line = self.line();
        let mut node = if self.takes("(") {
            let inner = self.expression(0)?;
            self.needs(")")?;
            inner
        } else {
            Node { expr: Expr::Name(self.name()?), line }
        };
        loop {
            let line = self.line();
            let expr = if self.takes(".") {
                let key = Node { expr: Expr::Text(self.name()?), line };
                Expr::Index(Box::new(node), Box::new(key))
            } else if self.takes("[") {
                let key = self.expression(0)?;
                self.needs("]")?;
                Expr::Index(Box::new(node), Box::new(key))
            } else if self.takes(":") {
                let name = self.name()?;
                Expr::Method(Box::new(node), name, self.arguments()?)
            } else if self.begins_arguments() {
                Expr::Call(Box::new(node), self.arguments()?)
            } else {
                return Some(node);
            };
            node = Node { expr, line };
        }
    }

    fn begins_arguments(&self) -> bool {
        let text = matches!(self.tokens.get(self.at), Some((LuaToken::Text(_), _)));
        text || self.is("(") || self.is("{")
    }

    fn arguments(&mut self) -> Option<Vec<Node>> {
        if !self.takes("(") {
            return self.simple().map(|only| vec![only]);
        }
        if self.takes(")") {
            return Some(Vec::new());
        }
        let list = self.list()?;
        self.needs(")").map(|()| list)
    }

    fn table(&mut self) -> Option<Node> {
        let line = self.line();
        self.needs("{")?;
        let mut entries = Vec::new();
        while !self.takes("}") {
            let line = self.line();
            let named = matches!(self.tokens.get(self.at + 1), Some((LuaToken::Symbol(b'='), _)));
            let key = if self.takes("[") {
                let key = self.expression(0)?;
                self.needs("]")?;
                self.needs("=")?;
                Some(key)
            } else if named && let Some(name) = self.name() {
                self.needs("=")?;
                Some(Node { expr: Expr::Text(name), line })
            } else {
                None
            };
            entries.push((key, self.expression(0)?));
            let _ = self.takes(",") || self.takes(";");
        }
        Some(Node { expr: Expr::Table(entries), line })
    }
}

/// The text of a literal; escapes stay as they are written.
fn unquoted(text: &[u8]) -> String {
    let level = text.iter().skip(1).take_while(|byte| **byte == b'=').count();
    let edge = if text.first() == Some(&b'[') { level + 2 } else { 1 };
    let inner = text.get(edge..text.len().saturating_sub(edge)).unwrap_or_default();
    String::from_utf8_lossy(inner).into_owned()
}
