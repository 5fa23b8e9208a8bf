//! Money in and out: top-ups, cards, withdrawals, and what Stripe tells.

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use clawrk_domain::payment::{AutoTopUp, StripeNews};
use clawrk_domain::{Action, Answer, Cents, Payment, PaymentId, PaymentState, Scope, Timestamp, User};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::ErrorBody;
use crate::auth::{self, Caller};
use crate::envelope::peer_of;
use crate::exchange::Render;
use crate::input::{Input, Named, Once, PageQuery, Query, Raw, Take};
use crate::outside::stripe::objects::Event;
use crate::outside::stripe::signature;
use crate::payments::{Desk, account_of, customer_of, fresh_key, notice, of_stripe, remember, status_of};
use crate::rates::Counted;
use crate::reply::Reply;
use crate::{App, Error, list};

/// How many payments are in a page when nobody says.
const PAGE: i64 = 50;

/// How much.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AmountBody {
    /// In cents; 500 to 1000000.
    amount_cents: i64,
}

impl Take for AmountBody {}

/// A page of Stripe's.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageBody {
    /// Where it is.
    url: String,
    /// The payment that is made there, for `GET /api/wallet/payments/{id}`; absent where nothing is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
}

/// How a card is to be saved.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct CardBody {
    /// By a page of Stripe's, instead of a secret for a page of one's own.
    page: bool,
}

impl Take for CardBody {}

/// What a page of one's own needs to save a card.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretBody {
    /// Of a SetupIntent, for Stripe's elements.
    client_secret: String,
}

/// When a wallet is topped up by itself.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AutoTopUpBody {
    /// Whether it is.
    enabled: bool,
    /// By how much, in cents.
    #[serde(default)]
    amount_cents: i64,
    /// When a debit leaves less than this, in cents.
    #[serde(default)]
    threshold_cents: i64,
    /// Why the exchange switched it off, if it did.
    #[serde(default, skip_deserializing)]
    off_because: Option<String>,
    /// Whether there is a card to charge.
    #[serde(default, skip_deserializing)]
    has_card: bool,
}

impl Take for AutoTopUpBody {}

/// How an account to be paid out to stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectBody {
    /// `not_connected`, `pending` or `active`.
    status: &'static str,
}

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentBody {
    id: String,
    /// `topup`, `auto_topup` or `withdrawal`.
    kind: &'static str,
    /// How much, in cents.
    amount_cents: i64,
    /// `open` (to be paid on Stripe's page), `pending`, `paid` or `failed`.
    status: &'static str,
    /// What is, or was, wrong.
    problem: Option<String>,
    /// How much of it came back, in cents: refunded, disputed or reversed.
    returned_cents: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<&Payment> for PaymentBody {
    fn from(payment: &Payment) -> Self {
        let is_told = matches!(payment.state, PaymentState::Failed);
        Self {
            id: payment.id.to_string(),
            kind: payment.kind.as_str(),
            amount_cents: payment.amount.0,
            status: match payment.state {
                PaymentState::Open => "open",
                // That nobody knows is the operator's to see to.
                PaymentState::Sending | PaymentState::Parked => "pending",
                PaymentState::Paid => "paid",
                PaymentState::Failed => "failed",
            },
            problem: payment.problem.clone().filter(|_| is_told),
            returned_cents: payment.moved_back.0,
            created_at: payment.created_at,
            updated_at: payment.updated_at,
        }
    }
}

fn desk(app: &App) -> Result<&Desk, Error> {
    app.desk.as_deref().ok_or_else(Error::stripe_not_configured)
}

async fn user(app: &App, caller: Caller) -> Result<User, Error> {
    Ok(app.store.user(caller.user).await?.ok_or_else(Error::unauthenticated)?.0)
}

fn payment_reply() -> Render {
    std::sync::Arc::new(|answer| match answer {
        Answer::Payment(payment) => Reply::ok(&PaymentBody::from(payment)),
        _ => Reply::nothing(),
    })
}

/// A key at Stripe for something of which two do no harm: the caller's own, or a fresh one.
fn stripe_key(caller: Caller, once: Option<&Once>) -> String {
    match once {
        Some(once) => {
            // The fingerprint says what is asked for, the key which time: a second card needs a second intent.
            let asked = Sha256::new().chain_update(once.fingerprint).chain_update(&once.key).finalize();
            format!("clawrk-{}-{}", caller.user, hex::encode(asked))
        }
        None => fresh_key(),
    }
}

/// Pay in, on a page of Stripe's: the wallet has it once Stripe says so.
#[utoipa::path(post, path = "/api/wallet/topup", tag = "wallet", request_body = AmountBody,
    responses((status = 200, body = PageBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub async fn topup(State(app): State<App>, caller: Caller, input: Input<AmountBody>) -> Result<Json<PageBody>, Error> {
    caller.may(Scope::Spend)?;
    let desk = desk(&app)?;
    let user = user(&app, caller).await?;
    let action = Action::TopUp(Cents(input.body.amount_cents));
    // The payment is there before Stripe hears of it, so that whatever Stripe tells of it finds it.
    let begun = app.exchange.act(caller.user, action, input.once, payment_reply()).await?;
    let id: Option<PaymentId> = begun.value().and_then(|body| body["id"].as_str()?.parse().ok());
    let id = id.ok_or_else(Error::internal)?;
    let customer = customer_of(&app, desk, &user).await?;
    let amount = app.store.payment(id).await?.ok_or_else(Error::internal)?.amount;
    let page = desk.stripe.create_top_up_page(id, &customer, amount, &desk.back_to).await.map_err(of_stripe)?;
    app.exchange.by_itself(Action::PageOpened { payment: id, session: page.id }).await?;
    let url = page.url.ok_or_else(Error::stripe_unavailable)?;
    Ok(Json(PageBody { url, payment_id: Some(id.to_string()) }))
}

/// Save a card that may be charged without its owner: a secret for a page of one's own, or a page of Stripe's.
#[utoipa::path(post, path = "/api/wallet/setup-payment-method", tag = "wallet", request_body = CardBody,
    responses((status = 200, body = SecretBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub async fn setup_payment_method(
    State(app): State<App>,
    caller: Caller,
    input: Input<CardBody>,
) -> Result<Response, Error> {
    caller.may(Scope::Spend)?;
    let desk = desk(&app)?;
    let user = user(&app, caller).await?;
    let customer = customer_of(&app, desk, &user).await?;
    let key = stripe_key(caller, input.once.as_ref());
    if input.body.page {
        let page = desk.stripe.create_card_page(user.id, &customer, &desk.back_to, &key).await.map_err(of_stripe)?;
        let url = page.url.ok_or_else(Error::stripe_unavailable)?;
        return Ok(Json(PageBody { url, payment_id: None }).into_response());
    }
    let intent = desk.stripe.create_setup_intent(user.id, &customer, &key).await.map_err(of_stripe)?;
    let client_secret = intent.client_secret.ok_or_else(Error::stripe_unavailable)?;
    Ok(Json(SecretBody { client_secret }).into_response())
}

async fn auto_topup_of(app: &App, caller: Caller) -> Result<Json<AutoTopUpBody>, Error> {
    let auto = app.store.auto_top_up(caller.user).await?;
    let has_card = app.store.stripe_ids(caller.user).await?.payment_method.is_some();
    Ok(Json(AutoTopUpBody {
        enabled: auto.enabled,
        amount_cents: auto.amount.0,
        threshold_cents: auto.threshold.0,
        off_because: auto.off_because,
        has_card,
    }))
}

/// When the wallet is topped up by itself.
#[utoipa::path(get, path = "/api/wallet/auto-topup", tag = "wallet",
    responses((status = 200, body = AutoTopUpBody), (status = 401, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn show_auto_topup(State(app): State<App>, caller: Caller) -> Result<Json<AutoTopUpBody>, Error> {
    caller.may(Scope::Read)?;
    desk(&app)?;
    auto_topup_of(&app, caller).await
}

/// Charge the saved card whenever a debit leaves less than a threshold: one charge at a time, five a day at most.
#[utoipa::path(post, path = "/api/wallet/auto-topup", tag = "wallet", request_body = AutoTopUpBody,
    responses((status = 200, body = AutoTopUpBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub async fn auto_topup(
    State(app): State<App>,
    caller: Caller,
    input: Input<AutoTopUpBody>,
) -> Result<Json<AutoTopUpBody>, Error> {
    caller.may(Scope::Spend)?;
    desk(&app)?;
    let AutoTopUpBody { enabled, amount_cents, threshold_cents, .. } = input.body;
    let (amount, threshold) = (Cents(amount_cents), Cents(threshold_cents));
    let wanted = AutoTopUp { enabled, amount, threshold, off_because: None };
    app.exchange.act(caller.user, Action::SetAutoTopUp(wanted), input.once, payment_reply()).await?;
    auto_topup_of(&app, caller).await
}

/// Pay out to one's own account: the wallet is debited at once, and has it back if Stripe refuses.
#[utoipa::path(post, path = "/api/wallet/withdraw", tag = "wallet", request_body = AmountBody,
    responses((status = 200, body = PaymentBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 402, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn withdraw(State(app): State<App>, caller: Caller, input: Input<AmountBody>) -> Result<Reply, Error> {
    caller.may(Scope::Spend)?;
    let desk = desk(&app)?;
    let action = Action::Withdraw(Cents(input.body.amount_cents));
    let reply = app.exchange.act(caller.user, action, input.once, payment_reply()).await?;
    desk.nudge.notify_one();
    Ok(reply)
}

/// One's payments, the newest first.
#[utoipa::path(get, path = "/api/wallet/payments", tag = "wallet", params(PageQuery),
    responses((status = 200, body = [PaymentBody]), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
pub async fn index(State(app): State<App>, caller: Caller, Query(page): Query<PageQuery>) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let (limit, after) = (page.limit()?.unwrap_or(PAGE), page.after::<PaymentId>()?);
    let mut payments = app.store.payments(caller.user, after, limit + 1).await?;
    let more = payments.len() as i64 > limit;
    payments.truncate(usize::try_from(limit).unwrap_or_default());
    let bodies: Vec<PaymentBody> = payments.iter().map(PaymentBody::from).collect();
    let mut response = Reply::ok(&bodies).into_response();
    if let Some(last) = payments.last().filter(|_| more) {
        list::link_next(&mut response, "/api/wallet/payments", limit, &last.id.to_string());
    }
    Ok(response)
}

/// One of one's payments.
#[utoipa::path(get, path = "/api/wallet/payments/{id}", tag = "wallet",
    params(("id" = String, Path, description = "Payment id")),
    responses((status = 200, body = PaymentBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn show(State(app): State<App>, caller: Caller, Named(id): Named) -> Result<Json<PaymentBody>, Error> {
    caller.may(Scope::Read)?;
    let payment = app.store.payment(super::id("payment", &id)?).await?;
    let payment = payment.filter(|payment| payment.user == caller.user);
    let payment = payment.ok_or(clawrk_domain::Rejection::NotFound("payment"))?;
    Ok(Json(PaymentBody::from(&payment)))
}

/// Set up an account to be paid out to, on pages of Stripe's.
#[utoipa::path(post, path = "/api/stripe/connect", tag = "wallet",
    responses((status = 200, body = PageBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub async fn connect(
    State(app): State<App>,
    caller: Caller,
    input: Input<super::jobs::NoBody>,
) -> Result<Json<PageBody>, Error> {
    caller.may(Scope::Spend)?;
    let desk = desk(&app)?;
    let user = user(&app, caller).await?;
    let account = account_of(&app, desk, &user).await?;
    let key = stripe_key(caller, input.once.as_ref());
    let link = desk.stripe.create_account_link(&account, &desk.back_to, &key).await.map_err(of_stripe)?;
    Ok(Json(PageBody { url: link.url, payment_id: None }))
}

/// How that account stands: `active` can be paid out to.
#[utoipa::path(get, path = "/api/stripe/connect/status", tag = "wallet",
    responses((status = 200, body = ConnectBody), (status = 401, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn connect_status(State(app): State<App>, caller: Caller) -> Result<Json<ConnectBody>, Error> {
    caller.may(Scope::Read)?;
    let desk = desk(&app)?;
    let known = app.store.stripe_ids(caller.user).await?;
    let (Some(account), Some(mut status)) = (known.account, known.account_status) else {
        return Ok(Json(ConnectBody { status: "not_connected" }));
    };
    // A notice may be on its way, or lost: whoever looks while it is pending wants to know.
    if status != clawrk_domain::payment::AccountStatus::Active
        && let Ok(found) = desk.stripe.account(&account).await
        && status_of(&found) != status
    {
        status = status_of(&found);
        remember(&app, caller.user, StripeNews::Status(account, status)).await?;
    }
    Ok(Json(ConnectBody { status: status.as_str() }))
}

/// What Stripe tells: kept, acknowledged, and then worked off.
#[utoipa::path(post, path = "/api/stripe/webhook", tag = "wallet", request_body(content = String, content_type = "application/json"),
    responses((status = 200, description = "Kept, or of no concern"), (status = 400, body = ErrorBody),
        (status = 503, body = ErrorBody)), security(()))]
pub async fn webhook(State(app): State<App>, request: Parts, raw: Raw) -> Result<Response, Error> {
    let desk = desk(&app)?;
    let now = app.store.clock().now().micros().div_euclid(1_000_000);
    let header = request.headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
    if let Err(why) = signature::verify(header, &raw.bytes, &desk.webhook_secrets, now) {
        let peer = peer_of(&request.extensions);
        return Err(auth::refuse(&app, Counted::Stranger, peer, Error::forged(&why)).await);
    }
    let text = std::str::from_utf8(&raw.bytes).map_err(|_| Error::malformed("The body is not UTF-8"))?;
    let event: Event = serde_json::from_str(text).map_err(|_| Error::malformed("The body is no event of Stripe's"))?;
    if let Some(notice) = notice(desk, &event, text) {
        app.exchange.by_itself(Action::Notice(notice)).await?;
        desk.nudge.notify_one();
    }
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], r#"{"received":true}"#).into_response())
}

/// Where Stripe's pages lead back to.
pub async fn done() -> impl IntoResponse {
    const PAGE: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Done</title>\
        <meta name=viewport content=\"width=device-width\"><h1>Done</h1>\
        <p>You may close this page: what you did shows as soon as Stripe has told the exchange.";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)
}
