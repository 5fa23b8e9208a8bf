//! The operator's commands beside a running server under load.

use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};

use crate::dice::rounds;
use crate::exchange::{Exchange, Server, beside};
use crate::load::Load;
use crate::proof::prove;

const GIFT: i64 = 700;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_commands_of_the_operator_at_once_beside_a_busy_server_are_both_carried_out() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let load = Load::new(&exchange);
    load.at([&server]);
    let poor = exchange.user("poor", 0).key;
    load.during(async {
        for n in 1..=rounds(5) {
            let name = format!("newcomer {n}");
            let made = exchange.command(["admin", "user", "create", "--name", &name, "--grant-cents", "500", "--json"]);
            let granted = exchange.command(["admin", "user", "grant", "poor", &GIFT.to_string(), "--json"]);
            let also = exchange.command(["admin", "user", "grant", "sender 0", &GIFT.to_string(), "--json"]);
            let newcomer = async {
                let key = carried_out(made).await["api_key"].as_str().unwrap().to_owned();
                // The server knows the key at once.
                assert_eq!(balance(&server, &key).await, 500);
            };
            let poor = async {
                carried_out(granted).await;
                assert_eq!(balance(&server, &poor).await, GIFT * i64::try_from(n).unwrap());
                carried_out(also).await;
                load.granted.lock().unwrap()[0] += GIFT;
            };
            join(newcomer, poor).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    assert!(load.troubles().is_empty(), "nobody else notices");
    prove(&load, &exchange).await;
}

/// What a command printed, which succeeded.
async fn carried_out(mut command: std::process::Command) -> Value {
    let output = beside(move || command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The balance as the server tells the owner of this key.
async fn balance(server: &Server, key: &str) -> i64 {
    let client = reqwest::Client::builder().build().unwrap();
    let asked = client.post(format!("{}/api/whoami", server.url)).bearer_auth(key).json(&json!({})).send().await;
    let answer: Value = asked.unwrap().error_for_status().unwrap().json().await.unwrap();
    answer["user"]["balance_cents"].as_i64().unwrap()
}
