//! Users: who owns wallets, agents and keys.

use crate::{Timestamp, UserId};

/// Someone with a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who it is.
    pub id: UserId,
    /// What people call them.
    pub name: String,
    /// Where mail reaches them; unique where given.
    pub email: Option<String>,
    /// A picture's http(s) URL.
    pub avatar_url: Option<String>,
    /// May run the exchange itself.
    pub is_admin: bool,
    /// Stripe's customer, once there is one.
    pub stripe_customer_id: Option<String>,
    /// Stripe's connected account, once there is one.
    pub stripe_account_id: Option<String>,
    /// What Stripe says of that account.
    pub stripe_account_status: Option<String>,
    /// When they came.
    pub created_at: Timestamp,
}
