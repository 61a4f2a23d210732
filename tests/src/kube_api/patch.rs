//! Patches: merge, strategic merge as far as lists of named things go, and JSON patches.

use serde_json::{Map, Value, json};

/// RFC 7396.
pub(super) fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Some(own) = object.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => {
                own.remove(name);
            }
            value => merge(own.entry(name).or_insert(Value::Null), value),
        }
    }
}

/// What the elements of a list are told apart by.
fn merge_key(list: &str, elements: &[Value]) -> Option<&'static str> {
    let candidates: &[&str] = match list {
        "conditions" => &["type"],
        "ports" => &["containerPort", "port"],
        "ownerReferences" => &["uid"],
        "volumeMounts" => &["mountPath"],
        "tolerations" | "finalizers" | "args" | "command" => &[],
        _ => &["name", "key", "type", "ip"],
    };
    let all_have = |key: &&&str| elements.iter().all(|element| !element[**key].is_null());
    candidates.iter().find(all_have).copied()
}

/// Objects are merged, lists of named elements by their names.
pub(super) fn strategic(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if patch.get("$patch") == Some(&json!("replace")) || !object.is_object() {
        *object = json!({});
    }
    let Some(own) = object.as_object_mut() else {
        return;
    };
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        match value {
            Value::Null => {
                own.remove(name);
            }
            Value::Array(elements) => merge_list(own, name, elements),
            value => strategic(own.entry(name).or_insert(Value::Null), value),
        }
    }
}

fn merge_list(own: &mut Map<String, Value>, name: &str, elements: &[Value]) {
    let key = merge_key(name, elements).filter(|_| !elements.is_empty());
    let slot = own.entry(name).or_insert(json!([]));
    let (Some(key), Value::Array(old)) = (key, &mut *slot) else {
        *slot = Value::Array(elements.to_vec());
        return;
    };
    for element in elements {
        let found = old.iter().position(|o| o[key] == element[key]);
        match (element.get("$patch"), found) {
            (Some(patch), found) if patch == "delete" => {
                if let Some(found) = found {
                    old.remove(found);
                }
            }
            (_, Some(found)) => strategic(&mut old[found], element),
            (_, None) => old.push(element.clone()),
        }
    }
}

/// RFC 6902: add, replace, remove, test.
pub(super) fn json(object: &mut Value, patch: &Value) -> Result<(), String> {
    for operation in patch.as_array().into_iter().flatten() {
        let path = operation["path"].as_str().unwrap_or_default();
        let (parent, last) = path
            .rsplit_once('/')
            .ok_or_else(|| format!("{path:?} is no path"))?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let value = operation["value"].clone();
        let op = operation["op"].as_str().unwrap_or_default();
        if op == "test" {
            match object.pointer(path) == Some(&value) {
                true => continue,
                false => return Err(format!("test of {path} failed")),
            }
        }
        let parent = object
            .pointer_mut(parent)
            .ok_or_else(|| format!("{path:?} leads nowhere"))?;
        apply(parent, &last, op, value).ok_or_else(|| format!("{op} of {path} is not possible"))?;
    }
    Ok(())
}

fn apply(parent: &mut Value, last: &str, op: &str, value: Value) -> Option<()> {
    match (parent, op) {
        (Value::Object(own), "add" | "replace") => {
            own.insert(last.to_owned(), value);
        }
        (Value::Object(own), "remove") => {
            own.remove(last)?;
        }
        (Value::Array(own), "add") => {
            let at = if last == "-" {
                own.len()
            } else {
                last.parse().ok()?
            };
            if at > own.len() {
                return None;
            }
            own.insert(at, value);
        }
        (Value::Array(own), "replace") => *own.get_mut(last.parse::<usize>().ok()?)? = value,
        (Value::Array(own), "remove") => {
            let at = last.parse().ok().filter(|at: &usize| *at < own.len())?;
            own.remove(at);
        }
        _ => return None,
    }
    Some(())
}
