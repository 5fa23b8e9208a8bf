//! What each route takes and does.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{Books, Refusal, Request, beyond, invalid, sample};

/// A field's name and value.
type Fields = [(String, String)];

/// What a route needs, and what it takes besides.
struct Takes {
    needs: &'static [&'static str],
    may: &'static [&'static str],
}

/// The fields of each route; a name that ends in `[*]` stands for any in such brackets.
fn fields_of(method: &Method, path: &[&str]) -> Option<Takes> {
    let takes = |needs, may| Some(Takes { needs, may });
    match (method.as_str(), path) {
        ("POST", ["customers"]) => takes(&[], &["name", "email", "metadata[*]"]),
        ("POST", ["checkout", "sessions"]) => takes(
            &["mode", "success_url"],
            &[
                "cancel_url",
                "customer",
                "client_reference_id",
                "currency",
                "metadata[*]",
                "payment_intent_data[metadata][*]",
                "setup_intent_data[metadata][*]",
                "line_items[0][quantity]",
                "line_items[0][price_data][currency]",
                "line_items[0][price_data][unit_amount]",
                "line_items[0][price_data][product_data][name]",
            ],
        ),
        ("POST", ["setup_intents"]) => takes(&[], &["customer", "usage", "metadata[*]"]),
        ("POST", ["payment_intents"]) => {
            takes(&["amount", "currency"], &["customer", "payment_method", "off_session", "confirm", "metadata[*]"])
        }
        ("POST", ["accounts"]) => takes(&["type"], &["email", "capabilities[transfers][requested]", "metadata[*]"]),
        ("POST", ["account_links"]) => takes(&["account", "type"], &["refresh_url", "return_url"]),
        ("POST", ["transfers"]) => takes(&["amount", "currency", "destination"], &["transfer_group", "metadata[*]"]),
        ("POST", ["transfers", _, "reversals"]) => takes(&[], &["amount"]),
        ("GET", ["payment_intents"]) => takes(&[], &["customer", "limit", "starting_after"]),
        ("GET", ["transfers"]) => takes(&[], &["transfer_group", "limit", "starting_after"]),
        ("GET", ["refunds" | "disputes"]) => takes(&[], &["payment_intent", "limit", "starting_after"]),
        ("GET", ["events"]) => takes(&[], &["created[*]", "types[*]", "limit", "starting_after"]),
        ("GET", ["payment_intents" | "accounts", _] | ["balance"]) => takes(&[], &[]),
        _ => None,
    }
}

fn parts(path: &str) -> Vec<&str> {
    path.strip_prefix("/v1/").unwrap_or_default().split('/').collect()
}

/// Whether the fields are the route's, in Stripe's words if not.
pub(super) fn checked(request: &Request) -> Result<(), Refusal> {
    let Some(Takes { needs, may }) = fields_of(&request.method, &parts(&request.path)) else {
        let message = format!("Unrecognized request URL ({}: {}). ", request.method, request.path);
        return Err(invalid(404, None, &message));
    };
    let star = |name: &str| match name.rsplit_once('[') {
        Some((stem, _)) if may.contains(&format!("{stem}[*]").as_str()) => format!("{stem}[*]"),
        _ => name.to_owned(),
    };
    let names: Vec<String> = request.fields.iter().map(|(name, _)| star(name)).collect();
    let known: BTreeSet<&str> = needs.iter().chain(may).copied().collect();
    if let Some(other) = beyond(names.iter().map(String::as_str), &known) {
        return Err(invalid(400, Some("parameter_unknown"), &format!("Received unknown parameter: {other}")));
    }
    let given: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if let Some(missing) = beyond(needs.iter().copied(), &given) {
        return Err(invalid(400, Some("parameter_missing"), &format!("Missing required param: {missing}.")));
    }
    let single: Vec<&str> =
        request.fields.iter().map(|(name, _)| name.as_str()).filter(|name| !name.ends_with("[]")).collect();
    if single.iter().collect::<BTreeSet<_>>().len() != single.len() {
        return Err(invalid(400, None, "Invalid request: a parameter is given twice"));
    }
    if let Some((name, _)) = request.fields.iter().find(|(_, value)| value.is_empty()) {
        let message = format!("You passed an empty string for '{name}'.");
        return Err(invalid(400, Some("parameter_invalid_empty"), &message));
    }
    for (name, value) in &request.fields {
        let is_number = ["amount", "limit"].contains(&name.as_str()) || name.ends_with("[unit_amount]");
        if is_number && !value.parse::<i64>().is_ok_and(|number| number > 0) {
            let message = format!("Invalid positive integer: {value}");
            return Err(invalid(400, Some("parameter_invalid_integer"), &message));
        }
    }
    Ok(())
}

pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn number(fields: &Fields, name: &str) -> i64 {
    field(fields, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What is in brackets behind a stem, such as the metadata.
fn under(fields: &Fields, stem: &str) -> Value {
    let of = |(name, value): &(String, String)| {
        let name = name.strip_prefix(stem)?.strip_prefix('[')?.strip_suffix(']')?;
        Some((name.to_owned(), Value::from(value.as_str())))
    };
    fields.iter().filter_map(of).collect::<Map<_, _>>().into()
}

impl Books {
    pub(super) fn route(&mut self, request: &Request) -> Result<Value, Refusal> {
        checked(request)?;
        let fields = &request.fields;
        match (request.method.as_str(), parts(&request.path).as_slice()) {
            ("POST", ["customers"]) => Ok(self.make(
                "customer",
                "cus",
                json!({
                    "name": field(fields, "name"), "email": field(fields, "email"),
                    "metadata": under(fields, "metadata"),
                }),
            )),
            ("POST", ["checkout", "sessions"]) => self.session(fields),
            ("POST", ["setup_intents"]) => {
                self.known("customer", field(fields, "customer"))?;
                let metadata = under(fields, "metadata");
                Ok(self.setup_intent(field(fields, "customer"), metadata))
            }
            ("POST", ["payment_intents"]) => self.charge(fields),
            ("POST", ["accounts"]) => Ok(self.make(
                "account",
                "acct",
                json!({
                    "type": "express", "email": field(fields, "email"), "charges_enabled": false,
                    "payouts_enabled": false, "details_submitted": false,
                    "capabilities": {"transfers": "inactive"}, "metadata": under(fields, "metadata"),
                }),
            )),
            ("POST", ["account_links"]) => {
                let account = self.known("account", field(fields, "account"))?;
                let url = format!("https://connect.stripe.test/setup/{account}/{}", self.made);
                self.made += 1;
                Ok(json!({"object": "account_link", "created": self.now, "expires_at": self.now + 300, "url": url}))
            }
            ("POST", ["transfers"]) => self.transfer(fields),
            ("POST", ["transfers", id, "reversals"]) => {
                let id = self.known("transfer", Some(id))?;
                let amount = field(fields, "amount").and_then(|text| text.parse().ok());
                self.reverse(&id, amount)
            }
            ("GET", ["payment_intents", id]) => self.one("payment_intent", id),
            ("GET", ["accounts", id]) => self.one("account", id),
            ("GET", ["payment_intents"]) => {
                let customer = self.known("customer", field(fields, "customer"))?;
                self.list("payment_intent", fields, |intent| intent["customer"] == customer.as_str())
            }
            ("GET", ["transfers"]) => {
                let group = field(fields, "transfer_group").unwrap_or_default().to_owned();
                self.list("transfer", fields, |transfer| transfer["transfer_group"] == group.as_str())
            }
            ("GET", [of @ ("refunds" | "disputes")]) => {
                let intent = self.known("payment_intent", field(fields, "payment_intent"))?;
                let of = if *of == "refunds" { "refund" } else { "dispute" };
                self.list(of, fields, |object| object["payment_intent"] == intent.as_str())
            }
            ("GET", ["events"]) => {
                let kinds: BTreeSet<&str> =
                    fields.iter().filter(|(name, _)| name == "types[]").map(|(_, kind)| kind.as_str()).collect();
                let from = number(fields, "created[gte]");
                let to = field(fields, "created[lt]").map_or(i64::MAX, |_| number(fields, "created[lt]"));
                self.list("event", fields, |event| {
                    let created = event["created"].as_i64().unwrap();
                    from <= created && created < to && kinds.contains(event["type"].as_str().unwrap())
                })
            }
            ("GET", ["balance"]) => {
                let mut balance = sample("balance");
                balance.insert("available".to_owned(), json!([{"amount": self.available, "currency": "usd"}]));
                balance.insert("pending".to_owned(), json!([{"amount": 0, "currency": "usd"}]));
                Ok(balance.into())
            }
            _ => Err(invalid(404, None, "Unrecognized request URL")),
        }
    }

    /// Makes an object: a sample, with this of its own.
    pub(super) fn make(&mut self, of: &'static str, prefix: &str, own: Value) -> Value {
        self.made += 1;
        let mut made = sample(of);
        made.insert("id".to_owned(), format!("{prefix}_{:06}", self.made).into());
        made.insert("created".to_owned(), self.now.into());
        let Value::Object(own) = own else { unreachable!("it is an object") };
        made.extend(own);
        self.objects.entry(of).or_default().push(Value::Object(made.clone()));
        made.into()
    }

    /// Changes an object; as it is then.
    pub(crate) fn change(&mut self, of: &'static str, id: &str, own: Value) -> Value {
        let all = self.objects.get_mut(of).unwrap();
        let found = all.iter_mut().find(|object| object["id"] == id).unwrap().as_object_mut().unwrap();
        let Value::Object(own) = own else { unreachable!("it is an object") };
        found.extend(own);
        found.clone().into()
    }

    pub(crate) fn get(&self, of: &'static str, id: &str) -> Option<&Value> {
        self.objects.get(of)?.iter().find(|object| object["id"] == id)
    }

    fn one(&self, of: &'static str, id: &str) -> Result<Value, Refusal> {
        let missing = || invalid(404, Some("resource_missing"), &format!("No such {of}: '{id}'"));
        self.get(of, id).cloned().ok_or_else(missing)
    }

    fn known(&self, of: &'static str, id: Option<&str>) -> Result<String, Refusal> {
        let id = id.unwrap_or_default();
        self.one(of, id).map(|_| id.to_owned()).map_err(|(_, error)| (400, error))
    }

    /// The newest first, a page of them.
    fn list(&self, of: &'static str, fields: &Fields, fits: impl Fn(&Value) -> bool) -> Result<Value, Refusal> {
        let limit = usize::try_from(field(fields, "limit").map_or(10, |_| number(fields, "limit"))).unwrap();
        if limit > 100 {
            return Err(invalid(400, None, "This value must be less than or equal to 100."));
        }
        let all = self.objects.get(of).into_iter().flatten().rev();
        let behind: Vec<&Value> = match field(fields, "starting_after") {
            Some(id) => all.skip_while(|object| object["id"] != id).skip(1).filter(|object| fits(object)).collect(),
            None => all.filter(|object| fits(object)).collect(),
        };
        let has_more = behind.len() > limit;
        let data: Vec<&Value> = behind.into_iter().take(limit).collect();
        Ok(json!({"object": "list", "url": format!("/v1/{of}s"), "has_more": has_more, "data": data}))
    }

    fn session(&mut self, fields: &Fields) -> Result<Value, Refusal> {
        let customer = self.known("customer", field(fields, "customer"))?;
        let mode = field(fields, "mode").unwrap_or_default().to_owned();
        let price = "line_items[0][price_data]";
        let amount = number(fields, &format!("{price}[unit_amount]")) * number(fields, "line_items[0][quantity]");
        let (amount, currency) = match mode.as_str() {
            "payment" if amount > 0 => (Some(amount), field(fields, &format!("{price}[currency]"))),
            "setup" => (None, field(fields, "currency")),
            _ => return Err(invalid(400, Some("parameter_missing"), "Missing required param: line_items.")),
        };
        let setup = (mode == "setup")
            .then(|| self.setup_intent(Some(&customer), under(fields, "setup_intent_data[metadata]"))["id"].clone());
        let url = format!("https://checkout.stripe.test/c/pay/{}", self.made);
        Ok(self.make(
            "checkout.session",
            "cs_test",
            json!({
                "mode": mode, "customer": customer, "client_reference_id": field(fields, "client_reference_id"),
                "metadata": under(fields, "metadata"), "amount_total": amount, "currency": currency,
                "payment_status": if amount.is_some() { "unpaid" } else { "no_payment_required" },
                "status": "open", "url": url, "payment_intent": null, "setup_intent": setup,
                "intent_metadata": under(fields, "payment_intent_data[metadata]"),
            }),
        ))
    }

    fn setup_intent(&mut self, customer: Option<&str>, metadata: Value) -> Value {
        let secret = format!("seti_{}_secret_canary", self.made);
        self.make(
            "setup_intent",
            "seti",
            json!({"customer": customer, "metadata": metadata, "payment_method": null,
            "status": "requires_payment_method", "client_secret": secret, "last_setup_error": null}),
        )
    }

    /// Charges a saved card.
    fn charge(&mut self, fields: &Fields) -> Result<Value, Refusal> {
        let customer = self.known("customer", field(fields, "customer"))?;
        let card = field(fields, "payment_method").unwrap_or_default().to_owned();
        let of = self.get("payment_method", &card).map(|card| card["customer"].clone());
        if of != Some(customer.as_str().into()) || field(fields, "confirm") != Some("true") {
            let message = format!("No such PaymentMethod: '{card}'");
            return Err(invalid(400, Some("resource_missing"), &message));
        }
        let intent = self.make(
            "payment_intent",
            "pi",
            json!({
                "amount": number(fields, "amount"), "currency": field(fields, "currency"), "customer": customer,
                "payment_method": card, "metadata": under(fields, "metadata"), "amount_received": 0,
                "status": "processing", "last_payment_error": null, "next_action": null, "canceled_at": null,
            }),
        );
        let id = intent["id"].as_str().unwrap().to_owned();
        if let Some(why) = self.declined.get(&card).copied() {
            let mut error = json!({"type": "card_error", "code": "card_declined", "decline_code": why,
                "message": format!("Your card was declined: {why}.")});
            let own = json!({"status": "requires_payment_method", "last_payment_error": error});
            let intent = self.change("payment_intent", &id, own);
            self.tell("payment_intent.payment_failed", &intent);
            error["payment_intent"] = intent;
            return Err((402, error));
        }
        if !self.charges_take_time {
            return Ok(self.succeed(&id));
        }
        Ok(intent)
    }

    fn transfer(&mut self, fields: &Fields) -> Result<Value, Refusal> {
        let account = self.known("account", field(fields, "destination"))?;
        let amount = number(fields, "amount");
        if self.get("account", &account).unwrap()["capabilities"]["transfers"] != "active" {
            let code = "insufficient_capabilities_for_transfer";
            let message = "Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, legacy_payments";
            return Err(invalid(400, Some(code), message));
        }
        if amount > self.available {
            let message = "You have insufficient available funds in your Stripe account.";
            return Err(invalid(400, Some("balance_insufficient"), message));
        }
        self.available -= amount;
        let transfer = self.make(
            "transfer",
            "tr",
            json!({
                "amount": amount, "currency": field(fields, "currency"), "destination": account, "amount_reversed": 0,
                "reversed": false, "transfer_group": field(fields, "transfer_group"),
                "metadata": under(fields, "metadata"),
            }),
        );
        self.tell("transfer.created", &transfer);
        Ok(transfer)
    }
}
