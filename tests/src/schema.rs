//! Schema: holds a JSON document against one of `docs/schema`. Knows the part of JSON Schema (2020-12) that those
//! use and refuses the rest, so that no word of them is there for nothing.

use serde_json::{Map, Value};

/// Words that say nothing about a document.
const REMARKS: [&str; 3] = ["$schema", "title", "description"];

/// What is wrong with `document`, each with the place; nothing if it fits. A field that the schema does not have
/// is wrong as well, although readers have to put up with it: what is published has to be complete.
#[must_use]
pub fn faults(schema: &Value, document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, document, "", &mut faults);
    faults
}

fn check(schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let Value::Object(schema) = schema else {
        return faults.push(format!("{place}: the schema is no object"));
    };
    if !has_type(schema, value) {
        let wanted = schema.get("type").unwrap_or(&Value::Null);
        return faults.push(format!("{place}: {value} is not {wanted}"));
    }
    for (word, rule) in schema {
        let fits = match word.as_str() {
            "type" => true,
            remark if REMARKS.contains(&remark) => true,
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => value.is_null() || value.as_f64() >= rule.as_f64(),
            "maximum" => value.is_null() || value.as_f64() <= rule.as_f64(),
            "pattern" => value.as_str().is_none_or(|text| matches(rule, text)),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{place}[{index}]"), faults);
                }
                true
            }
            "required" => value.as_object().is_none_or(|object| {
                let mut names = rule.as_array().into_iter().flatten();
                names.all(|name| object.contains_key(name.as_str().unwrap_or_default()))
            }),
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    let place = format!("{place}.{name}");
                    match rule.get(name) {
                        Some(rule) => check(rule, field, &place, faults),
                        None => faults.push(format!("{place} is not in the schema")),
                    }
                }
                true
            }
            _ => false,
        };
        if !fits {
            faults.push(format!("{place}: {value} does not fit {word} {rule}"));
        }
    }
}

fn has_type(schema: &Map<String, Value>, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().any(is),
        Some(name) => is(name),
        None => false,
    }
}

/// The two patterns there are: ids and stable names.
fn matches(pattern: &Value, text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    match pattern.as_str() {
        Some("^[0-9a-f]{64}$") => text.len() == 64 && text.chars().all(hex),
        Some("^[a-z_]+$") => {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_what_does_not_fit() {
        let schema = json!({
            "type": "object",
            "required": ["version", "list"],
            "properties": {
                "version": { "type": "integer", "const": 1 },
                "list": { "type": "array", "items": { "type": ["number", "null"], "minimum": 0 } },
                "word": { "type": "string", "enum": ["a", "b"] },
                "name": { "type": "string", "pattern": "^[a-z_]+$", "description": "a name" },
            }
        });
        let good = json!({ "version": 1, "list": [0, 1.5, null], "word": "b", "name": "x_y" });
        assert_eq!(faults(&schema, &good), Vec::<String>::new());
        for bad in [
            json!([]),
            json!({ "version": 1 }),
            json!({ "version": 2, "list": [] }),
            json!({ "version": 1, "list": [-1] }),
            json!({ "version": 1, "list": ["x"] }),
            json!({ "version": 1, "list": [], "word": "c" }),
            json!({ "version": 1, "list": [], "name": "X" }),
            json!({ "version": 1, "list": [], "more": 1 }),
        ] {
            assert_eq!(faults(&schema, &bad).len(), 1, "{bad}");
        }
        let unknown = json!({ "type": "array", "uniqueItems": true });
        assert_eq!(faults(&unknown, &json!([])).len(), 1);
    }
}
