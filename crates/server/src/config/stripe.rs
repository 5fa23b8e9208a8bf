//! The settings of Stripe.

use std::fmt;
use std::net::SocketAddr;

use url::Url;

use super::{ConfigError, MASK, invalid};

/// How Stripe is reached, and by whom; printed, its secrets are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct StripeSetting {
    /// Who asks.
    pub secret_key: String,
    /// What Stripe signs with what it sends; several while it changes, or one for each of its endpoints.
    pub webhook_secrets: Vec<String>,
    /// Where it is.
    pub api_url: Url,
    /// Where people come back to from its pages.
    pub public_url: Url,
}

impl fmt::Debug for StripeSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeSetting").field("api_url", &self.api_url.as_str()).finish_non_exhaustive()
    }
}

impl StripeSetting {
    /// What the settings say, each asked for by its name.
    pub(super) fn read(
        text: &impl Fn(&'static str) -> Option<String>,
        listen: SocketAddr,
    ) -> Result<Option<Self>, ConfigError> {
        let public_url = text("public_url").unwrap_or_else(|| format!("http://{listen}"));
        let public_url = web(&public_url).ok_or_else(|| invalid("public_url", "an http(s) URL", &public_url))?;
        let secrets: Vec<String> = text("stripe_webhook_secret")
            .unwrap_or_default()
            .split([',', '\n'])
            .map(|secret| secret.trim().to_owned())
            .filter(|secret| !secret.is_empty())
            .collect();
        let Some(secret_key) = text("stripe_secret_key") else {
            let alone = invalid("stripe_secret_key", "given beside stripe_webhook_secret", "left out");
            return if secrets.is_empty() { Ok(None) } else { Err(alone) };
        };
        if !secret_key.chars().all(|character| character.is_ascii_graphic()) {
            return Err(invalid("stripe_secret_key", "visible ASCII characters", MASK));
        }
        if secret_key.starts_with("pk_") {
            return Err(invalid("stripe_secret_key", "the secret key (sk_…), not the publishable one", MASK));
        }
        if secrets.is_empty() {
            const NEEDS: &str = "given beside stripe_secret_key: without it nobody would hear that a top-up was paid";
            return Err(invalid("stripe_webhook_secret", NEEDS, "left out"));
        }
        let api_url = text("stripe_api_url").unwrap_or_default();
        // The address may hold a password.
        let api_url = web(&api_url).ok_or_else(|| invalid("stripe_api_url", "an http(s) URL", MASK))?;
        Ok(Some(Self { secret_key, webhook_secrets: secrets, api_url, public_url }))
    }

    /// Whether it is about real money.
    pub fn is_live(&self) -> bool {
        self.secret_key.starts_with("sk_live_") || self.secret_key.starts_with("rk_live_")
    }
}

fn web(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    fn stripe(flags: &[(&str, &str)]) -> Result<Option<StripeSetting>, ConfigError> {
        let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&Sources { flags, ..Sources::default() }).unwrap().config().map(|config| config.stripe)
    }

    #[test]
    fn stripe_is_set_up_whole_or_not_at_all() {
        assert_eq!(stripe(&[]), Ok(None));
        let key = ("stripe_secret_key", "sk_test_canary");
        let secret = ("stripe_webhook_secret", "whsec_canary, whsec_other");
        let found = stripe(&[key, secret]).unwrap().unwrap();
        assert_eq!(found.webhook_secrets, ["whsec_canary", "whsec_other"]);
        assert_eq!((found.api_url.as_str(), found.is_live()), ("https://api.stripe.com/", false));
        assert_eq!(found.public_url.as_str(), "http://127.0.0.1:3000/");
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
        for (flags, name) in [
            (&[key][..], "stripe_webhook_secret"),
            (&[secret], "stripe_secret_key"),
            (&[("stripe_secret_key", "sk canary"), secret], "stripe_secret_key"),
            (&[("stripe_secret_key", "pk_test_canary"), secret], "stripe_secret_key"),
            (&[key, secret, ("stripe_api_url", "canary")], "stripe_api_url"),
            (&[key, secret, ("public_url", "example.org")], "public_url"),
        ] {
            let error = stripe(flags).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} must be ")) && !error.contains("canary"), "{error}");
        }
    }
}
