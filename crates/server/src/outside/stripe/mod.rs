//! Stripe, as far as an exchange needs it: a small typed client, and the signature of what it sends by itself.
//!
//! | What comes of a call       | Means                                                                          |
//! |----------------------------|--------------------------------------------------------------------------------|
//! | an answer                  | it was done                                                                    |
//! | [`StripeError::Refused`]   | it was not done, and will not be under this key                                |
//! | [`StripeError::Away`]      | it was surely not done: not connected, turned away for the rate, the key wrong |
//! | [`StripeError::Unknown`]   | it may have been done: no answer came, or one that says that Stripe broke      |
//!
//! Nothing is repeated here: whoever asks knows whether that is safe. Of what Stripe writes nothing reaches an error but
//! codes, and its sentence for people where it is about their card or their account.

mod call;
pub mod objects;
pub mod signature;

use std::sync::Arc;
use std::time::Duration;

use clawrk_domain::{Cents, PaymentId, UserId};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use url::Url;

use crate::config::StripeSetting;
use call::{Form, form};
use objects::{
    Account, AccountLink, Balance, Dispute, Event, Intent, Item, List, Named, Refund, Session, SetupIntent, Transfer,
};

/// The version of the API that answers are in, whatever the account's own one is.
pub const VERSION: &str = "2024-06-20";
/// Stripe is reached within this, or away.
const CONNECT: Duration = Duration::from_secs(5);
/// An answer is waited for so long; Stripe's own limit is a little longer.
const WITHIN: Duration = Duration::from_secs(60);

/// A client of Stripe's API; cheap to clone.
#[derive(Clone)]
pub struct Stripe {
    line: Arc<Line>,
}

struct Line {
    client: Client,
    url: Url,
    within: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeError {
    /// It was not done, and will not be.
    #[error("Stripe refuses: {problem}")]
    Refused {
        /// Why, for people.
        problem: String,
        /// Stripe's code for it, and the bank's if it was the bank.
        codes: [Option<String>; 2],
    },
    /// It was surely not done, and may be later.
    #[error("Stripe is away: {problem}")]
    Away {
        /// Why, for people.
        problem: String,
        /// For how long it wants to be left alone, in seconds, if it says so.
        pause_seconds: Option<i64>,
    },
    /// Nobody knows whether it was done.
    #[error("nobody knows whether Stripe did it: {0}")]
    Unknown(String),
}

/// Secure connections cannot be set up; told at the start.
#[derive(Debug, thiserror::Error)]
#[error("Stripe cannot be used: secure connections cannot be set up")]
pub struct StripeOpenError(#[from] reqwest::Error);

impl std::fmt::Debug for Stripe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stripe").field("url", &self.line.url.host_str()).finish_non_exhaustive()
    }
}

impl Stripe {
    /// The client that the settings describe.
    pub fn open(setting: &StripeSetting) -> Result<Self, StripeOpenError> {
        // Fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut key = HeaderValue::try_from(format!("Bearer {}", setting.secret_key))
            .expect("a key of visible ASCII characters fits a header");
        key.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([(AUTHORIZATION, key)]);
        headers.insert("stripe-version", HeaderValue::from_static(VERSION));
        let mut client = Client::builder()
            .user_agent(concat!("clawrk/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(Policy::none())
            .connect_timeout(CONNECT);
        if setting.api_url.scheme() == "http" {
            // Certificates are not needed, and a machine may have none.
            client = client.tls_certs_only([]);
        }
        let line = Line { client: client.build()?, url: setting.api_url.clone(), within: WITHIN };
        Ok(Self { line: Arc::new(line) })
    }

    /// The same, with so much time for an answer instead of a minute.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        let Line { client, url, .. } = &*self.line;
        Self { line: Arc::new(Line { client: client.clone(), url: url.clone(), within }) }
    }

    /// A customer for a user. The key is a fresh one: nothing is lost when there are two, and an answer that says that
    /// Stripe broke would stand under the same one for a day.
    pub async fn create_customer(
        &self,
        user: UserId,
        name: &str,
        email: Option<&str>,
        key: &str,
    ) -> Result<Named, StripeError> {
        let mut form = form([("name", name), ("metadata[clawrk_user]", &user.to_string())]);
        form.extend(email.map(|email| ("email".to_owned(), email.to_owned())));
        self.post("/v1/customers", form, key).await
    }

    /// A page on which a customer pays in.
    pub async fn create_top_up_page(
        &self,
        payment: PaymentId,
        customer: &str,
        amount: Cents,
        back_to: &str,
    ) -> Result<Session, StripeError> {
        let (payment, amount) = (payment.to_string(), amount.0.to_string());
        let form = form([
            ("mode", "payment"),
            ("customer", customer),
            ("client_reference_id", &payment),
            ("metadata[clawrk_payment]", &payment),
            ("payment_intent_data[metadata][clawrk_payment]", &payment),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", "usd"),
            ("line_items[0][price_data][unit_amount]", &amount),
            ("line_items[0][price_data][product_data][name]", "Balance"),
            ("success_url", back_to),
            ("cancel_url", back_to),
        ]);
        self.post("/v1/checkout/sessions", form, &key("topup", &payment)).await
    }

    /// A page on which a customer saves a card. The key is a fresh one: nothing is lost when there are two.
    pub async fn create_card_page(
        &self,
        user: UserId,
        customer: &str,
        back_to: &str,
        key: &str,
    ) -> Result<Session, StripeError> {
        let form = form([
            ("mode", "setup"),
            ("currency", "usd"),
            ("customer", customer),
            ("setup_intent_data[metadata][clawrk_user]", &user.to_string()),
            ("success_url", back_to),
            ("cancel_url", back_to),
        ]);
        self.post("/v1/checkout/sessions", form, key).await
    }

    /// What a page of one's own needs to save a card.
    pub async fn create_setup_intent(
        &self,
        user: UserId,
        customer: &str,
        key: &str,
    ) -> Result<SetupIntent, StripeError> {
        let form =
            form([("customer", customer), ("usage", "off_session"), ("metadata[clawrk_user]", &user.to_string())]);
        self.post("/v1/setup_intents", form, key).await
    }

    /// Charges a saved card.
    pub async fn charge(
        &self,
        payment: PaymentId,
        customer: &str,
        card: &str,
        amount: Cents,
    ) -> Result<Intent, StripeError> {
        let (payment, amount) = (payment.to_string(), amount.0.to_string());
        let form = form([
            ("amount", amount.as_str()),
            ("currency", "usd"),
            ("customer", customer),
            ("payment_method", card),
            ("off_session", "true"),
            ("confirm", "true"),
            ("metadata[clawrk_payment]", &payment),
        ]);
        self.post("/v1/payment_intents", form, &key("charge", &payment)).await
    }

    /// An intent.
    pub async fn intent(&self, id: &str) -> Result<Intent, StripeError> {
        self.get(&format!("/v1/payment_intents/{id}"), &[]).await
    }

    /// The intents of a customer, the newest first.
    pub async fn intents_of(&self, customer: &str) -> Result<List<Intent>, StripeError> {
        self.get("/v1/payment_intents", &[("customer", customer), ("limit", "100")]).await
    }

    /// A connected account for a user; the key as for a customer.
    pub async fn create_account(&self, user: UserId, email: Option<&str>, key: &str) -> Result<Account, StripeError> {
        let mut form = form([
            ("type", "express"),
            ("capabilities[transfers][requested]", "true"),
            ("metadata[clawrk_user]", &user.to_string()),
        ]);
        form.extend(email.map(|email| ("email".to_owned(), email.to_owned())));
        self.post("/v1/accounts", form, key).await
    }

    /// A page on which the owner of a connected account says what Stripe needs to know.
    pub async fn create_account_link(
        &self,
        account: &str,
        back_to: &str,
        key: &str,
    ) -> Result<AccountLink, StripeError> {
        let form = form([
            ("account", account),
            ("type", "account_onboarding"),
            ("refresh_url", back_to),
            ("return_url", back_to),
        ]);
        self.post("/v1/account_links", form, key).await
    }

    /// A connected account.
    pub async fn account(&self, id: &str) -> Result<Account, StripeError> {
        self.get(&format!("/v1/accounts/{id}"), &[]).await
    }

    /// Pays out to a connected account.
    pub async fn transfer(&self, payment: PaymentId, account: &str, amount: Cents) -> Result<Transfer, StripeError> {
        let (payment, amount) = (payment.to_string(), amount.0.to_string());
        let form = form([
            ("amount", amount.as_str()),
            ("currency", "usd"),
            ("destination", account),
            ("transfer_group", &payment),
            ("metadata[clawrk_payment]", &payment),
        ]);
        self.post("/v1/transfers", form, &key("withdrawal", &payment)).await
    }

    /// The payouts that were made for a withdrawal: one at most.
    pub async fn transfers_of(&self, payment: PaymentId) -> Result<List<Transfer>, StripeError> {
        self.get("/v1/transfers", &[("transfer_group", &payment.to_string()), ("limit", "100")]).await
    }

    /// Takes so much of a payout back, on top of what was reversed before. The key says both: the same again is done
    /// once, however often it is asked for.
    pub async fn reverse(&self, transfer: &Transfer, amount: Cents) -> Result<Named, StripeError> {
        let key = key("reversal", &format!("{}-{}-{}", transfer.id, transfer.amount_reversed, amount.0));
        self.post(&format!("/v1/transfers/{}/reversals", transfer.id), form([("amount", &amount.0.to_string())]), &key)
            .await
    }

    /// The refunds of an intent, whatever became of them.
    pub async fn refunds_of(&self, intent: &str) -> Result<Vec<Refund>, StripeError> {
        self.all("/v1/refunds", &[("payment_intent", intent)]).await
    }

    /// The disputes about an intent, whatever became of them.
    pub async fn disputes_of(&self, intent: &str) -> Result<Vec<Dispute>, StripeError> {
        self.all("/v1/disputes", &[("payment_intent", intent)]).await
    }

    /// What happened in a span of time (seconds since 1970), the newest first.
    pub async fn events(&self, (from, to): (i64, i64), kinds: &[&str]) -> Result<Vec<Event>, StripeError> {
        let (from, to) = (from.to_string(), to.to_string());
        let mut query = vec![("created[gte]", from.as_str()), ("created[lt]", &to)];
        query.extend(kinds.iter().map(|kind| ("types[]", *kind)));
        self.all("/v1/events", &query).await
    }

    /// What is on the exchange's own account.
    pub async fn balance(&self) -> Result<Balance, StripeError> {
        self.get("/v1/balance", &[]).await
    }
}

/// A key that says what it is for: the same thing has the same key, for ever.
fn key(what: &str, id: &str) -> String {
    format!("clawrk-{what}-{id}")
}

impl StripeError {
    /// Whether the same would be refused again: a card that is gone rather than one that has no money today, or whose
    /// bank does not say why.
    pub fn is_final(&self) -> bool {
        const PASSING: [&str; 9] = [
            "processing_error",
            "insufficient_funds",
            "try_again_later",
            "issuer_not_available",
            "reenter_transaction",
            "approve_with_id",
            "card_velocity_exceeded",
            "generic_decline",
            "do_not_honor",
        ];
        let Self::Refused { codes, .. } = self else { return false };
        !codes.iter().flatten().any(|code| PASSING.contains(&code.as_str()))
    }
}

impl Stripe {
    async fn post<T: serde::de::DeserializeOwned>(&self, path: &str, form: Form, key: &str) -> Result<T, StripeError> {
        self.line.post(path, &form, key).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, StripeError> {
        self.line.get(path, query).await
    }

    /// All of a list, the newest first, a page at a time.
    async fn all<T: serde::de::DeserializeOwned + Item>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, StripeError> {
        let mut all: Vec<T> = Vec::new();
        loop {
            let mut query = query.to_vec();
            query.push(("limit", "100"));
            let behind = all.last().map(|last| last.name().to_owned());
            query.extend(behind.as_deref().map(|behind| ("starting_after", behind)));
            let page: List<T> = self.get(path, &query).await?;
            let is_last = !page.has_more || page.data.is_empty();
            all.extend(page.data);
            if is_last {
                return Ok(all);
            }
        }
    }
}
