//! What has to hold for anything at all that is read from outside: one function for each reader.
//!
//! A fuzz target calls one of them with what the fuzzer thinks up. The server's ordinary tests call all of them with the
//! seeds in `corpus/`, so what was found once stays found.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{Debug, Display, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::IntoResponse;
use clawrk_domain::action::Posting;
use clawrk_domain::estimate::estimate;
use clawrk_domain::matching::{Index, Reading, Text, terms};
use clawrk_domain::verification::judge::{Case, Draw, Question};
use clawrk_domain::verification::{Handed, HandedFile, read_checks};
use clawrk_domain::{
    AgentId, Cents, Check, JobId, KeyId, Scope, Status, TaskKind, Timestamp, TransferId, UserId, limits,
};
use clawrk_server::apikey;
use clawrk_server::config::{KEYS, Settings, Source, Sources};
use clawrk_server::decode::{self, HeadRead, HeadReader};
use clawrk_store::{DirectoryPlace, Place};
use serde_json::Value;

/// Takes anything, and panics when something does not hold for it.
pub type Target = fn(&[u8]);

/// Every function, by the name of its target, which is also the folder of its seeds.
pub const TARGETS: [(&str, Target); 12] = [
    ("bodies", bodies),
    ("checks", checks),
    ("counts", counts),
    ("head", head),
    ("idempotency", idempotency),
    ("json", json),
    ("matching", matching),
    ("names", names),
    ("query", query),
    ("settings", settings),
    ("structurer", structurer),
    ("verdict", verdict),
];

/// Objects and arrays may stand so deep inside each other.
const JSON_DEPTH: usize = 32;

/// The strict pass takes what serde_json takes and is an object, not too deep, and without a key twice; and what says
/// the same has one form.
pub fn json(data: &[u8]) {
    let tree: Option<Tree> = serde_json::from_slice(data).ok();
    let good = tree.filter(|tree| matches!(tree, Tree::Object(_)) && tree.depth() <= JSON_DEPTH && tree.is_clear());
    let taken = decode::strict_json(data);
    assert_eq!(taken.is_ok(), good.is_some(), "{taken:?}");
    let Some(tree) = good else { return };
    let one = decode::canonical_json(data).expect("strict JSON is JSON");
    // A float can lose its last bit each time it is read.
    if !tree.has_float() {
        assert_eq!(decode::canonical_json(tree.backwards().as_bytes()).expect("it is JSON"), one, "the order is gone");
        let value = |bytes| serde_json::from_slice::<Value>(bytes).expect("it is JSON");
        assert_eq!(value(data), value(&one), "nothing but the form changes");
        assert_eq!(decode::canonical_json(&one).expect("it is JSON"), one, "a form is its own form");
    }
}

/// A JSON value with everything that was written.
enum Tree {
    Leaf(Value),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn depth(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(fields) => 1 + fields.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
        }
    }

    /// No object has a key twice.
    fn is_clear(&self) -> bool {
        match self {
            Self::Leaf(_) => true,
            Self::Array(items) => items.iter().all(Self::is_clear),
            Self::Object(fields) => {
                let keys: HashSet<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
                keys.len() == fields.len() && fields.iter().all(|(_, value)| value.is_clear())
            }
        }
    }

    fn has_float(&self) -> bool {
        match self {
            Self::Leaf(value) => value.is_f64(),
            Self::Array(items) => items.iter().any(Self::has_float),
            Self::Object(fields) => fields.iter().any(|(_, value)| value.has_float()),
        }
    }

    /// The same with blanks around, and the fields of its objects in the other order.
    fn backwards(&self) -> String {
        match self {
            Self::Leaf(value) => value.to_string(),
            Self::Array(items) => format!("[ {} ]", items.iter().map(Self::backwards).collect::<Vec<_>>().join(",\n")),
            Self::Object(fields) => {
                let field =
                    |(key, value): &(String, Self)| format!("{} :{}", Value::from(key.as_str()), value.backwards());
                format!("{{\t{}\r\n}}", fields.iter().rev().map(field).collect::<Vec<_>>().join(" , "))
            }
        }
    }
}

impl<'de> serde::Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> serde::de::Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any JSON")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Leaf(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Tree::Leaf(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf(value.into()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Array(items))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Tree::Object(fields))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

fn is_blank(data: &[u8]) -> bool {
    data.iter().all(|byte| b" \t\r\n".contains(byte))
}

/// A body that a route takes is strict JSON or nothing, and so is it in another form; one that it does not take is 400.
pub fn bodies(data: &[u8]) {
    let strict = is_blank(data) || decode::strict_json(data).is_ok();
    assert_eq!(decode::no_body(data).is_ok(), strict, "a body without fields is any object");
    let one = decode::canonical_json(data).unwrap_or_default();
    let again = strict.then(|| decode::bodies(&one));
    for (at, (route, read)) in decode::bodies(data).into_iter().enumerate() {
        assert!(strict || read.is_err(), "{route} takes what is not strict");
        if let Some(again) = &again {
            assert_eq!(read.is_ok(), again[at].1.is_ok(), "{route} takes one form and not the other");
        }
        if let Err(error) = read {
            assert_eq!(error.into_response().status(), 400, "{route}");
        }
    }
}

/// A head is the same however it comes, and what passes is read by the next parser in the same way.
pub fn head(data: &[u8]) {
    let read = HeadReader::default().read(data);
    let mut by_byte = HeadReader::default();
    let step = (0..=data.len()).map(|end| by_byte.read(&data[..end])).find(|read| *read != HeadRead::Partial);
    assert_eq!(step.unwrap_or(HeadRead::Partial), read, "byte by byte");
    let HeadRead::Whole { bytes, body } = read else { return };
    let head = &data[..bytes];
    assert_eq!(HeadReader::default().read(head), read, "what follows does not matter");
    assert_eq!(HeadReader::default().read(&head[..bytes - 1]), HeadRead::Partial, "each byte is needed");

    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(bytes)));
    Method::from_bytes(request.method.expect("it is complete").as_bytes()).expect("a method");
    Uri::try_from(request.path.expect("it is complete")).expect("a URI");
    for field in request.headers.iter() {
        HeaderName::from_bytes(field.name.as_bytes()).expect("the name of a field");
        HeaderValue::from_bytes(field.value).expect("the value of a field");
    }
    let values = |name: &str| -> Vec<&[u8]> {
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    let hosts = values("host").len();
    assert!(hosts == 1 || hosts == 0 && request.version == Some(0), "{hosts} hosts");
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => assert_eq!(body, Some(0)),
        ([length], []) => {
            let length = std::str::from_utf8(length).expect("digits").parse().expect("a number");
            assert_eq!(body, Some(length));
        }
        ([], [encoding]) => assert!(encoding.eq_ignore_ascii_case(b"chunked") && body.is_none()),
        (lengths, encodings) => panic!("{} lengths beside {} encodings", lengths.len(), encodings.len()),
    }
}

/// The first line is a key, the rest a body: the same request has the same fingerprint, another one another.
pub fn idempotency(data: &[u8]) {
    let (key, body) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let Ok(header) = HeaderValue::from_bytes(key) else { return };
    let once = |method: Method, path: &'static str, body: &[u8]| {
        decode::once(method, Uri::from_static(path), header.clone(), body)
    };
    let visible = key.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t');
    let key_is_good = visible && !is_blank(key) && key.len() <= 255;
    let value: Option<Value> =
        if is_blank(body) { Some(Value::Object(serde_json::Map::new())) } else { serde_json::from_slice(body).ok() };
    let read = once(Method::POST, "/a", body);
    assert_eq!(read.is_ok(), key_is_good && value.is_some(), "{:?}", read.as_ref().err());
    let (Ok(Some(one)), Some(mut value)) = (read, value) else { return };
    assert_eq!(one.key.as_bytes(), key);
    let print =
        |method, path, body: &[u8]| once(method, path, body).expect("it was good before").map(|once| once.fingerprint);
    let same = [body, b"\r\n \t"].concat();
    assert_eq!(print(Method::POST, "/a", &same), Some(one.fingerprint), "blanks do not matter");
    assert_eq!(print(Method::POST, "/a?b", body), Some(one.fingerprint), "nor does the query");
    assert_ne!(print(Method::PATCH, "/a", body), Some(one.fingerprint), "the method matters");
    assert_ne!(print(Method::POST, "/a/", body), Some(one.fingerprint), "and so does the path");
    if let Some(fields) = value.as_object_mut() {
        let fresh = "_".repeat(fields.keys().map(String::len).max().unwrap_or(0) + 1);
        fields.insert(fresh, Value::Null);
        let more = value.to_string();
        assert_ne!(print(Method::POST, "/a", more.as_bytes()), Some(one.fingerprint), "and each field");
    }
}

/// What a text is read as prints as that text, or as one that is read as the same.
pub fn names(data: &[u8]) {
    let number = data.first_chunk().copied().map(i64::from_le_bytes).unwrap_or_default();
    let second = data.last_chunk().copied().map(i64::from_le_bytes).unwrap_or_default();
    times(number, second);
    let Ok(text) = std::str::from_utf8(data) else { return };
    exact::<UserId>(text);
    exact::<AgentId>(text);
    exact::<TransferId>(text);
    exact::<JobId>(text);
    exact::<KeyId>(text);
    exact::<Scope>(text);
    exact::<Status>(text);
    round::<Place>(text);
    round::<DirectoryPlace>(text);
    if let Some(kind) = TaskKind::from_name(text) {
        assert_eq!(kind.as_str(), text);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        times(time.micros(), number);
    }
    key(text);
    if let Ok(name) = limits::name("name", text) {
        assert_eq!(limits::name("name", &name), Ok(name.clone()), "a name is its own name");
        assert!(name.chars().count() <= limits::NAME && !name.contains(char::is_control));
    }
    if let Ok(email) = limits::email("email", text) {
        assert_eq!(limits::email("email", &email), Ok(email.clone()), "an address is its own address");
    }
    let _ = limits::web_url("avatar_url", Some(text));
}

/// There is one text for a thing, and no other.
fn exact<T: FromStr + Display>(text: &str) {
    if let Ok(thing) = text.parse::<T>() {
        assert_eq!(thing.to_string(), text);
    }
}

/// There may be several texts for a thing, of which it prints one.
fn round<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    if let Ok(thing) = text.parse::<T>() {
        assert_eq!(thing.to_string().parse::<T>().ok(), Some(thing));
    }
}

/// A time prints as one that is read back to the millisecond, and times print in their order.
fn times(one: i64, other: i64) {
    let read = |micros| {
        let time = Timestamp::from_micros(micros);
        let printed = time.to_string();
        let again: Timestamp = printed.parse().expect("a time prints as a time");
        assert_eq!(again.to_string(), printed);
        assert_eq!(serde_json::from_value::<Timestamp>(serde_json::json!(time)).expect("as JSON too"), again);
        assert!(time.to_the_minute().ends_with(" UTC"));
        (time, again)
    };
    let ((one, one_again), (other, other_again)) = (read(one), read(other));
    assert!(one_again.cmp(&other_again).is_eq() || one_again.cmp(&other_again) == one.cmp(&other), "{one} and {other}");
    // The years 0 to 9999, in which all of the exchange's times are.
    if (-62_167_219_200_000_000..253_402_207_200_000_000).contains(&one.micros()) {
        assert_eq!(one_again.micros(), one.millis() * 1000);
    }
    assert!(one.plus_seconds(1) >= one && one + std::time::Duration::MAX >= one);
    assert_eq!((one - other).is_zero(), one <= other);
}

/// A key names its public part, and no single wrong letter passes.
fn key(text: &str) {
    let Some(id) = apikey::id_of(text) else { return };
    assert_eq!(&text[7..19], id.as_str());
    for at in 0..text.len() {
        let mut bent = text.to_owned().into_bytes();
        bent[at] = if bent[at] == b'a' { b'b' } else { b'a' };
        let bent = String::from_utf8(bent).expect("ASCII");
        assert_eq!(apikey::id_of(&bent), None, "letter {at}");
    }
}

/// The first line is a list of checks, the rest what was handed in. What is read is kept as the same and says the same
/// again; what it says is short and steers nobody; and a text is passed by no check that does not hold for it.
pub fn checks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (list, output) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(Value::Array(list)) = serde_json::from_str(list) else { return };
    let checks = match read_checks(&list) {
        Ok(checks) => checks,
        Err(refused) => return assert!(!refused.to_string().contains(char::is_control), "{refused}"),
    };
    let kept = serde_json::json!(checks);
    assert_eq!(read_checks(kept.as_array().expect("a list")).as_ref(), Ok(&checks), "what is kept is read again");
    let name = output.lines().next().unwrap_or_default().to_owned();
    let files = [HandedFile { name: name.clone(), size: output.len() as u64, sha256: "0".repeat(64) }];
    for check in &checks {
        let both = check.apply(&Handed { output_text: Some(output), files: &files });
        let Some(both) = both else { continue };
        assert!(both.detail.chars().count() <= 500 && !both.detail.contains(char::is_control), "{}", both.detail);
        assert_eq!(check.apply(&Handed { output_text: Some(output), files: &files }).as_ref(), Some(&both));
        let nothing = check.apply(&Handed { output_text: None, files: &[] }).expect("it is no command");
        assert!(!nothing.pass, "nothing passes {check:?}");
        let holds = match check {
            Check::Contains { text } => output.as_bytes().windows(text.len()).any(|part| part == text.as_bytes()),
            Check::JsonSchema { .. } => serde_json::from_str::<Value>(output).is_ok(),
            Check::MinWords { count } => output.chars().filter(|c| c.is_alphanumeric()).count() >= *count as usize,
            Check::File { name: wanted, .. } => *wanted == name,
            Check::Regex { .. } | Check::Command { .. } => true,
        };
        assert!(holds || !both.pass, "{check:?} is passed by {output:?}");
    }
}

/// Whatever other nodes tell of what they counted refuses nobody for more than two minutes.
pub fn counts(data: &[u8]) {
    let address = IpAddr::from([192, 0, 2, 1]);
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    assert!(!decode::counts_lock_out(&String::from_utf8_lossy(data), address, now), "somebody is locked out");
}

/// A query that is read is within its bounds, and reads the same when it is written out again.
pub fn query(data: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/api/jobs?", data].concat()) else { return };
    let page = decode::page(&uri);
    assert!(page.is_ok() || decode::status_query(&uri).is_err(), "a status does not mend a page");
    let Ok(page) = page else { return };
    assert!(page.limit().is_err() || page.limit.is_none_or(|limit| (1..=200).contains(&limit)));
    let _ = (page.after::<Place>(), page.after::<i64>(), page.after::<DirectoryPlace>());
    let mut written = String::from("/api/jobs?");
    if let Some(limit) = page.limit {
        let _ = write!(written, "limit={limit}&");
    }
    if let Some(after) = &page.after {
        written.push_str("after=");
        for byte in after.bytes() {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    // What is three times as long may be too long.
    let Ok(uri) = Uri::try_from(written) else { return };
    let again = decode::page(&uri).expect("it was read before");
    assert_eq!((again.limit, again.after), (page.limit, page.after));
}

/// Settings that are taken are within their bounds and stand as flags too, and no secret is ever shown.
pub fn settings(data: &[u8]) {
    const CANARY: &str = "canary-in-a-mine";
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A file that a secret is read from may be any file of this machine.
    let names_a_file = |table: toml::Table| table.keys().any(|name| name.ends_with("_file"));
    if text.parse().is_ok_and(names_a_file) {
        return;
    }
    let file = Some(("clawrk.toml".into(), text.to_owned()));
    let settings = match Settings::read(&Sources { file: file.clone(), ..Sources::default() }) {
        Ok(settings) => settings,
        Err(error) => return assert!(error.to_string().contains("clawrk.toml"), "{error}"),
    };
    for key in KEYS {
        let from = settings.source(key.name);
        assert!(matches!(from, Source::Default | Source::File));
        assert!(!key.secret || matches!(&*settings.shown(&key), "" | "********"), "{} is a secret", key.name);
    }
    if let Ok(config) = settings.config() {
        let policy = &config.policy;
        assert!(policy.hold_seconds > 0 && policy.max_attempts > 0 && policy.review_window_seconds > 0);
        assert!(policy.fee_bps <= 10_000 && policy.fee_flat >= Cents::ZERO);
        let shown = KEYS.iter().filter(|key| !key.secret);
        let flags = shown.map(|key| (key.name.to_owned(), settings.shown(key))).collect();
        let again = Settings::read(&Sources { flags, ..Sources::default() }).and_then(|again| again.config());
        let again = again.expect("what was taken from a file is taken as flags");
        assert_eq!((again.listen, again.policy), (config.listen, config.policy));
    }
    for secret in ["CLAWRK_SECRET_KEY", "CLAWRK_DATABASE_URL"] {
        let variables = vec![(secret.to_owned(), CANARY.to_owned())];
        let refused = Settings::read(&Sources { file: file.clone(), variables, ..Sources::default() })
            .map(|settings| settings.config().expect_err("a secret that is too short, and no URL"));
        assert!(text.contains(CANARY) || !format!("{refused:?}").contains(CANARY), "{refused:?}");
    }
}

/// Whatever the prompt, the structurer's answer can be posted.
pub fn structurer(data: &[u8]) {
    let Ok(prompt) = std::str::from_utf8(data) else { return };
    let made = estimate(prompt);
    assert_eq!(estimate(prompt), made, "the same prompt, the same answer");
    if limits::required_text("prompt", prompt, limits::PROMPT).is_err() {
        return;
    }
    let posting = Posting {
        checks: Vec::new(),
        prompt: prompt.to_owned(),
        title: made.title,
        description: made.description,
        requirements: made.requirements,
        criteria: made.criteria,
        sealed_env: None,
        price: Cents(made.price_cents),
        time_limit_seconds: made.time_limit_seconds,
    };
    assert_eq!(posting.check(), Ok(()), "{posting:?}");
}

/// Each line queues a job (its first letter is the id, then title|description|requirements) or, after a minus, takes it
/// out. Whatever came and went, the index answers as one does that was made of what is left.
pub fn matching(data: &[u8]) {
    const LINES: usize = 64;
    fn job(line: &str) -> Text<'_> {
        let mut parts = line.split('|');
        Text { title: parts.next().unwrap_or_default(), description: parts.next(), requirements: parts.next() }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(terms(text).iter().all(|term| !term.is_empty() && !term.contains(char::is_whitespace)));
    let (mut index, mut left) = (Index::new(), BTreeMap::new());
    let ask = |index: &Index<char>, left: &BTreeMap<char, (&str, i64)>| {
        let mut fresh = Index::new();
        left.iter().for_each(|(id, (line, at))| fresh.insert(*id, Reading::of(&job(line)), *at));
        assert_eq!((index.len(), index.is_empty()), (left.len(), left.is_empty()));
        for personality in [None, Some(text), text.lines().last()] {
            for k in [1, 3, LINES] {
                let best = index.best(personality, 5, k, |id| *id == 'x');
                assert_eq!(best, fresh.best(personality, 5, k, |id| *id == 'x'));
                assert!(best.len() <= k && best.is_sorted_by(|one, other| one.score() >= other.score()));
            }
        }
    };
    for (line, at) in text.lines().take(LINES).zip(0..) {
        let (line, goes) = line.strip_prefix('-').map_or((line, false), |line| (line, true));
        let Some(id) = line.chars().next() else { continue };
        if goes {
            assert_eq!(index.remove(&id), left.remove(&id).is_some());
        } else {
            index.insert(id, Reading::of(&job(line)), at % 3);
            left.insert(id, (line, at % 3));
        }
        assert_eq!(index.contains(&id), left.contains_key(&id));
    }
    ask(&index, &left);
    for id in std::mem::take(&mut left).into_keys() {
        assert!(index.remove(&id));
    }
    ask(&index, &left);
}

/// The first line is a judge's answer, in which `ID` stands for the id of the one criterion; the rest is what was handed
/// in. It stays data, and no answer passes it without a quote of it.
pub fn verdict(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (answer, output) = text.split_once('\n').unwrap_or((text, ""));
    let criteria = vec!["It is done".to_owned()];
    let case = Case { criteria, output_text: Some(output.to_owned()), ..Case::default() };
    let question = Question::new(&case, &Draw { marker: 1, ids: 2, order: vec![0] });
    let (_, rest) = question.user.split_once("DATA BEGINS ").expect("it begins");
    let (marker, rest) = rest.split_once('\n').expect("a marker has a line");
    assert_eq!(question.user.matches(marker).count(), 2, "it begins once and ends once");
    let (document, _) = rest.split_once(&format!("\nDATA ENDS {marker}\n")).expect("it ends");
    let document: Value = serde_json::from_str(document).expect("it is JSON whatever was handed in");
    let shown = document["submission"]["output_text"]["text"].as_str().expect("a text");
    assert!(output.starts_with(shown) && output.chars().count() == question.shown + question.not_shown);
    let id = document["criteria"][0]["id"].as_str().expect("an id");
    let Ok(reading) = question.read(&answer.replace("ID", id)) else { return };
    assert_eq!(reading.0.len(), 1);
    let finding = &reading.0[0];
    assert!(!finding.reason.is_empty() && !finding.reason.contains(char::is_control));
    assert!(!finding.pass || !output.trim().is_empty() && !finding.evidence.is_empty());
}
