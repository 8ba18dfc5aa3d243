//! Values of tests, shown in messages and compared: tables by what is in them.

use mlua::{Table, Value};

/// Deeper tables are not looked into.
const DEEPEST: usize = 10;
/// Longer ones are cut.
const SHOWN: usize = 300;

/// A value as Lua would write it.
pub fn show(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text, 0);
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn write(value: &Value, out: &mut String, depth: usize) {
    match value {
        Value::Nil => out.push_str("nil"),
        Value::Boolean(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Integer(number) => out.push_str(&number.to_string()),
        Value::Number(number) => out.push_str(&format!("{number:?}")),
        Value::String(text) => {
            out.push('"');
            out.push_str(&text.as_bytes().escape_ascii().to_string());
            out.push('"');
        }
        Value::Table(table) if depth < DEEPEST && out.len() < SHOWN => write_table(table, out, depth),
        other => out.push_str(&format!("a {}", other.type_name())),
    }
}

fn write_table(table: &Table, out: &mut String, depth: usize) {
    let mut entries: Vec<(String, Value)> = Vec::new();
    let length = table.raw_len();
    for pair in table.pairs::<Value, Value>().flatten() {
        let (key, value) = pair;
        let name = match &key {
            Value::Integer(at) if (1..=length as i64).contains(at) => continue,
            Value::String(name) => name.to_string_lossy(),
            key => format!("[{}]", show(key)),
        };
        entries.push((name, value));
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    let items = (1..=length).filter_map(|at| table.raw_get::<Value>(at).ok());
    let all =
        items.map(|item| (None, item)).chain(entries.into_iter().map(|(name, value)| (Some(name), value)));
    out.push('{');
    for (at, (name, value)) in all.enumerate() {
        out.push_str(if at == 0 { " " } else { ", " });
        if let Some(name) = name {
            out.push_str(&name);
            out.push_str(" = ");
        }
        write(&value, out, depth + 1);
    }
    out.push_str(" }");
}

/// Whether two values are the same, tables by their contents.
pub fn equal(a: &Value, b: &Value) -> bool {
    equal_at(a, b, 0)
}

fn equal_at(a: &Value, b: &Value, depth: usize) -> bool {
    match (a, b) {
        (Value::Table(a), Value::Table(b)) if depth < DEEPEST => {
            let within = |a: &Table, b: &Table| {
                a.pairs::<Value, Value>().flatten().all(|(key, value)| {
                    b.raw_get::<Value>(key).is_ok_and(|other| equal_at(&value, &other, depth + 1))
                })
            };
            a.to_pointer() == b.to_pointer() || (within(a, b) && within(b, a))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> (mlua::Lua, Value) {
        let lua = mlua::Lua::new();
        let value = lua.load(format!("return {text}")).eval().unwrap();
        (lua, value)
    }

    #[test]
    fn values_are_shown_as_lua_writes_them() {
        for (text, shown) in [
            ("nil", "nil"),
            ("\"a\\n\\\"b\"", "\"a\\n\\\"b\""),
            ("{ 1, 2.5, b = { true }, a = 'x' }", "{ 1, 2.5, a = \"x\", b = { true } }"),
            ("print", "a function"),
        ] {
            assert_eq!(show(&value(text).1), shown);
        }
        assert!(show(&value("('x'):rep(1000)").1).ends_with('…'));
    }

    #[test]
    fn tables_are_equal_if_their_contents_are() {
        let lua = mlua::Lua::new();
        let both = |a: &str, b: &str| {
            let (a, b): (Value, Value) = lua.load(format!("return {a}, {b}")).eval().unwrap();
            equal(&a, &b)
        };
        assert!(both("{ 1, { a = 2 } }", "{ 1, { a = 2 } }"));
        assert!(both("1", "1.0"), "as Lua's own ==");
        assert!(!both("{ 1, 2 }", "{ 1 }") && !both("{ 1 }", "{ 1, 2 }") && !both("'1'", "1"));
    }
}
