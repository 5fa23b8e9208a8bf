//! Somebody in the demo: a user with a key, who speaks to the exchange as any client does.

use clawrk_domain::action::NewUser;
use clawrk_domain::key::NewKey;
use clawrk_domain::{Cents, Scopes};
use clawrk_server::apikey::FreshKey;
use clawrk_server::exchange::Operator;
use serde_json::Value;

use crate::client::Client;
use crate::failure::Failure;
use crate::settings::{Key, Settings, Source};

/// A user with a key.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) key: String,
    client: Client,
}

impl Person {
    /// The operator makes the user, with this much in the wallet.
    pub(super) async fn join(operator: &Operator, server: &str, name: &str, cents: i64) -> Result<Self, Failure> {
        let fresh = FreshKey::new();
        let key =
            NewKey { id: fresh.id, hash: fresh.hash, name: "demo".to_owned(), scopes: Scopes::USER, expires_at: None };
        let grant = (cents > 0).then_some(Cents(cents));
        let new = NewUser { name: name.to_owned(), email: None, is_admin: false, grant, key: Some(key) };
        operator.create_user(new).await.map_err(anyhow::Error::from)?;
        let settings = Settings {
            server: server.parse().map_err(anyhow::Error::from)?,
            server_source: Source::Flag,
            key: Some(Key { text: fresh.text.clone(), source: Source::Flag }),
            folder: None,
            key_elsewhere: None,
        };
        Ok(Self { name: name.to_owned(), key: fresh.text, client: Client::new(settings)? })
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.client.post_once(path, body).await
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.client.get(path).await
    }
}
