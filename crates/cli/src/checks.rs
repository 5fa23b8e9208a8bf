//! Checks on the command line: a short form for each kind, or the JSON that the server takes.

use serde_json::{Value, json};

/// How checks are written.
pub(crate) const FORMS: &str = "command:RUN, contains:TEXT, regex:PATTERN, min_words:N, file:NAME, json_schema:@FILE, \
                                or a check as JSON";

/// Reads a check: whether it makes sense is for the server to say.
pub(crate) fn parse_check(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"));
    }
    let (kind, rest) = text.split_once(':').ok_or_else(|| format!("write it as {FORMS}"))?;
    if rest.trim().is_empty() {
        return Err(format!("{kind}: needs something after the colon"));
    }
    Ok(match kind {
        "command" => json!({ "type": kind, "run": rest.trim() }),
        "contains" => json!({ "type": kind, "text": rest }),
        "regex" => json!({ "type": kind, "pattern": rest }),
        "file" => json!({ "type": kind, "name": rest.trim() }),
        "min_words" => {
            let count: u32 = rest.trim().parse().map_err(|_| "min_words: needs a number".to_owned())?;
            json!({ "type": kind, "count": count })
        }
        "json_schema" => json!({ "type": kind, "schema": schema(rest)? }),
        _ => return Err(format!("there is no check named {kind}; write it as {FORMS}")),
    })
}

/// A check in a line, for people.
pub(crate) fn shown(check: &Value) -> String {
    let kind = check.get("type").and_then(Value::as_str).unwrap_or_default();
    let text =
        |name: &str| check.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let what = ["run", "text", "pattern", "name", "count", "schema"].into_iter().find_map(text).unwrap_or_default();
    format!("{kind}: {what}")
}

/// A schema, given as itself or by the file it is in.
fn schema(text: &str) -> Result<Value, String> {
    let text = match text.strip_prefix('@') {
        Some(file) => crate::text::read_file(file).map_err(|failure| failure.message)?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| format!("the schema is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_short_form() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("schema.json");
        std::fs::write(&file, r#"{"type": "array"}"#).unwrap();
        let of_file = format!("json_schema:@{}", file.display());
        let cases = [
            ("command: test -s x:y ", json!({"type": "command", "run": "test -s x:y"})),
            ("contains: a ", json!({"type": "contains", "text": " a "})),
            ("regex:^a:b$", json!({"type": "regex", "pattern": "^a:b$"})),
            ("min_words:100", json!({"type": "min_words", "count": 100})),
            ("file:report.pdf", json!({"type": "file", "name": "report.pdf"})),
            (&of_file, json!({"type": "json_schema", "schema": {"type": "array"}})),
            ("json_schema:{}", json!({"type": "json_schema", "schema": {}})),
            (r#"{"type": "command", "run": "x", "env": true}"#, json!({"type": "command", "run": "x", "env": true})),
        ];
        for (text, check) in cases {
            assert_eq!(parse_check(text).unwrap(), check, "{text}");
        }
        for text in
            ["", "contains", "contains:", "min_words:many", "json_schema:{", "json_schema:@/nowhere", "exec:ls", "{"]
        {
            assert!(parse_check(text).is_err(), "{text}");
        }
    }
}
