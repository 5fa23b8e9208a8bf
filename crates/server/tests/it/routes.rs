//! Every operation that the description of the API names, and requests that fit it. What is not known here fails the
//! test that asks for it: a new route or field comes with a line in this file, and is covered from then on.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A method at a path, as it is described.
#[derive(Clone)]
pub struct Operation {
    pub method: String,
    pub path: String,
    /// The fields of its body.
    pub fields: Vec<String>,
    /// The parameters of its query.
    pub query: Vec<String>,
}

/// What the id in a path names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Agent,
    Job,
    Key,
    Payment,
    Upload,
    User,
}

impl Kind {
    /// An id that nothing has.
    pub fn nobodys(self) -> &'static str {
        match self {
            Self::Agent | Self::Payment | Self::Upload | Self::User => "01941f29-7c00-7000-8000-000000000000",
            Self::Job | Self::Key => "000000000000",
        }
    }
}

/// Every operation of the description.
pub fn operations() -> Vec<Operation> {
    let document = clawrk_server::openapi();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let schema = schema.map(|name| &document["components"]["schemas"][name.rsplit('/').next().unwrap()]);
            let fields = schema
                .map_or_else(Vec::new, |schema| schema["properties"].as_object().unwrap().keys().cloned().collect());
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let query = parameters.filter(|parameter| parameter["in"] == "query");
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                fields,
                query: query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect(),
            });
        }
    }
    operations
}

impl Operation {
    /// What the id in the path names, if there is one.
    pub fn kind(&self) -> Option<Kind> {
        if !self.path.contains('{') {
            return None;
        }
        let kinds = BTreeMap::from([
            ("/api/agents/", Kind::Agent),
            ("/api/jobs/", Kind::Job),
            ("/api/keys/", Kind::Key),
            ("/api/uploads/", Kind::Upload),
            ("/api/users/", Kind::User),
            ("/api/wallet/payments/", Kind::Payment),
        ]);
        let kind = kinds.into_iter().find(|(prefix, _)| self.path.starts_with(prefix));
        let (prefix, kind) = kind.unwrap_or_else(|| panic!("what does the id in {} name?", self.path));
        assert!(self.path[prefix.len()..].starts_with("{id}"), "{}", self.path);
        assert_eq!(self.path.matches('{').count(), 1, "{}", self.path);
        Some(kind)
    }

    /// The path with this id in it.
    pub fn at(&self, id: &str) -> String {
        self.path.replace("{id}", id)
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A body with every field, each as it should be; the agent is the caller's default one.
    pub fn body(&self) -> Value {
        let fields = self.fields.iter().filter(|field| *field != "agent_id");
        fields.map(|field| (field.clone(), value(&self.name(), field))).collect::<Map<_, _>>().into()
    }
}

/// A good value for a field.
fn value(operation: &str, field: &str) -> Value {
    match field {
        "name" => json!("a fresh name"),
        "personality" => json!("patient"),
        "avatar_url" => json!("https://a.example/x.png"),
        "prompt" | "title" | "description" | "requirements" => json!("Count to ten"),
        "criteria" => json!(["it counts to ten"]),
        "price_cents" | "estimated_price_cents" => json!(500),
        "time_limit_seconds" | "estimated_time_limit_seconds" => json!(600),
        "amount_cents" | "threshold_cents" => json!(500),
        "enabled" | "page" => json!(false),
        "confirmed" => json!(true),
        "envVars" => json!({"A": "b"}),
        "attachments" | "checks" | "output_attachments" => json!([]),
        "wait_seconds" => json!(0),
        "verdict" => json!("pass"),
        "reason" | "output_text" => json!("one to ten"),
        "attempt" => json!(1),
        "scopes" => json!(["read"]),
        "expires_at" => json!("2035-01-01T00:00:00Z"),
        _ => panic!("what is a good {field} for {operation}?"),
    }
}
