//! Whether a statement is ever passed: for code that nothing reaches, and functions that end without `return`.

use super::syntax::{Block, Expr, Node, Statement};

/// Whether what follows the statement in its block is never run.
pub(super) fn ends(statement: &Statement) -> bool {
    match statement {
        Statement::Return(_) | Statement::Break | Statement::Goto => true,
        Statement::Do(block) => block_ends(block),
        Statement::If(arms, Some(otherwise)) => {
            block_ends(otherwise) && arms.iter().all(|(_, block)| block_ends(block))
        }
        Statement::While(condition, body) => is_true(condition) && !breaks(body),
        Statement::Call(call) => is_error(call),
        _ => false,
    }
}

/// Whether its end is never reached.
pub(super) fn block_ends(block: &Block) -> bool {
    block.iter().any(|(statement, _)| ends(statement))
}

/// The line of the first statement that nothing reaches. A label may be jumped to.
pub(super) fn unreachable(block: &Block) -> Option<usize> {
    let after = block.windows(2).find(|pair| ends(&pair[0].0))?;
    (!block.iter().any(|(statement, _)| matches!(statement, Statement::Label))).then_some(after[1].1)
}

/// Leaves the loop whose body this is. A jump may, too.
fn breaks(body: &Block) -> bool {
    body.iter().any(|(statement, _)| match statement {
        Statement::Break | Statement::Goto => true,
        Statement::Do(block) => breaks(block),
        Statement::If(arms, otherwise) => {
            arms.iter().any(|(_, block)| breaks(block)) || otherwise.as_ref().is_some_and(breaks)
        }
        _ => false,
    })
}

fn is_true(condition: &Node) -> bool {
    matches!(condition.expr, Expr::Boolean(true) | Expr::Number | Expr::Text(_))
}

fn is_error(call: &Node) -> bool {
    let Expr::Call(function, _) = &call.expr else { return false };
    matches!(&function.expr, Expr::Name(name) if name == "error")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::lint::syntax::parse;

    #[test]
    fn a_block_ends_where_all_its_ways_do() {
        for (text, wanted) in [
            ("return 1", true),
            ("if a then return 1 end", false),
            ("if a then return 1 elseif b then return 2 end", false),
            ("if a then return 1 elseif b then error 'x' else do return 2 end end", true),
            ("while true do a() end", true),
            ("while true do if a then break end end", false),
            ("while true do while b do break end end", true),
            ("while a do return 1 end", false),
            ("repeat return 1 until true", false),
            ("a()", false),
        ] {
            assert_eq!(block_ends(&parse(text.as_bytes()).unwrap().body), wanted, "{text}");
        }
    }

    #[test]
    fn what_follows_an_end_is_not_reached() {
        let of = |text: &str| unreachable(&parse(text.as_bytes()).unwrap().body);
        assert_eq!(of("do return end\nb()"), Some(2));
        assert_eq!(of("a()\nb()"), None);
        assert_eq!(of("do goto x end ::x:: b()"), None);
    }
}
