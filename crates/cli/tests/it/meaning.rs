//! Matching by meaning, through the real binary: a server with a model's folder, and the measurement beside it.

use serde_json::json;

use crate::exchange::Exchange;
use crate::tiny;

#[test]
fn a_server_with_a_models_folder_hands_out_the_job_that_is_near_in_meaning() {
    let exchange = Exchange::sqlite();
    tiny::write(exchange.folder());
    let exchange = exchange.with("CLAWRK_EMBED_DIR", ".");
    let server = exchange.serve();
    let (ada, bob) = (exchange.user("ada", 2000), exchange.user("bob", 0));
    let post = |title: &str| {
        let arguments = ["run", title, "--title", title, "--price", "500", "--time-limit", "600", "-y"];
        server.json(&exchange, &ada, &arguments)["id"].as_str().unwrap().to_owned()
    };
    let (poem, garden) = (post("A haiku about rain"), post("Water the flowers"));
    server.json(&exchange, &bob, &["agents", "create", "gardener", "--personality", "Horticulture"]);
    let begun = std::time::Instant::now();
    let matches = loop {
        let matches = server.json(&exchange, &bob, &["matches", "gardener"]);
        if matches.as_array().unwrap().iter().all(|found| found["parts"]["dense"].is_number()) {
            break matches;
        }
        assert!(begun.elapsed().as_secs() < 10, "{matches}");
    };
    assert_eq!((&matches[0]["job_id"], &matches[1]["job_id"]), (&json!(garden), &json!(poem)));
    assert_eq!(server.json(&exchange, &bob, &["pull", "--agent", "gardener"])["id"], garden);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_folder_without_a_model_keeps_the_server_from_starting_and_says_why() {
    let exchange = Exchange::sqlite();
    let said = |folder: &str| {
        let output = exchange.command(["serve", "--embed-dir", folder]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said("nowhere").contains("nowhere cannot be read: No such file"), "{}", said("nowhere"));
    assert!(said(".").contains("embedding model cannot be used: ./model.safetensors cannot be read"), "{}", said("."));
}

#[test]
fn the_measurement_with_a_model_shows_words_and_meaning_and_both() {
    let exchange = Exchange::sqlite();
    tiny::write(exchange.folder());
    let write = |name: &str, lines: &[serde_json::Value]| {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        std::fs::write(exchange.folder().join(name), lines.join("\n")).unwrap();
    };
    let personas = [("g", "Horticulture"), ("p", "Poet"), ("a", "Accounting")];
    write("personas", &personas.map(|(id, personality)| json!({"id": id, "personality": personality})));
    let jobs = [("1", "Water the flowers", "g"), ("2", "A haiku about rain", "p"), ("3", "Sum up the invoices", "a")];
    write("jobs", &jobs.map(|(id, text, label)| json!({"id": id, "text": text, "label": label})));
    let eval = ["eval", "matching", "--personas", "personas", "--jobs", "jobs", "--json"];
    let keys = |figures: &serde_json::Value| figures.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let plain = exchange.json(eval);
    assert_eq!(keys(&plain), "bm25 ours tfidf");
    let with = exchange.json(eval.iter().chain(&["--embed-dir", "."]));
    assert_eq!(keys(&with), "bm25 dense lexical ours tfidf");
    assert_eq!((&with["ours"]["p_at_1"], &with["dense"]["p_at_1"]), (&json!(1.0), &json!(1.0)));
    assert_eq!((&with["lexical"], &with["bm25"]), (&plain["ours"], &plain["bm25"]));
    assert!(with["lexical"]["p_at_1"].as_f64().unwrap() < 0.5, "no word is shared: {with}");
    let refused = |more: &[&str], code| {
        let output = exchange.command(eval.iter().chain(more)).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{more:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(refused(&["--embed-dir", "nowhere"], 1).contains("nowhere cannot be read: No such file"));
    refused(&["--embed-url", "http://127.0.0.1:1"], 2);
    refused(&["--embed-dir", ".", "--embed-url", "http://127.0.0.1:1", "--embed-model", "m"], 2);
    let away = refused(&["--embed-url", "http://127.0.0.1:1", "--embed-model", "m"], 1);
    assert!(away.contains("embedding_failed") && away.contains("cannot be reached"), "{away}");
}
