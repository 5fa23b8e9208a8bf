//! A page of Stripe's: shown, opened, and waited for.

use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tokio::time::sleep;

use super::PageArgs;
use crate::client::Client;
use crate::environment;
use crate::failure::Failure;
use crate::follow::Patience;
use crate::output::{Output, Tone};

/// Between two questions whether something has come of a page.
const INTERVAL: Duration = Duration::from_secs(2);

/// A page of Stripe's.
pub(super) struct Page {
    url: Url,
    /// The payment that is made on it.
    pub(super) payment: Option<String>,
}

impl Page {
    /// The page that an answer names: one of the web, and nothing else that a browser would open.
    pub(super) fn read(client: &Client, answer: &Value) -> Result<Self, Failure> {
        let url = answer["url"].as_str().and_then(|url| Url::parse(url).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| client.unexpected("it names no page"))?;
        Ok(Self { url, payment: answer["payment_id"].as_str().map(str::to_owned) })
    }

    /// Says where it is, and opens it where there is a browser.
    pub(super) fn show(&self, args: PageArgs, what: &str, out: &Output) {
        out.note(what);
        out.line(&[(self.url.as_str(), Tone::Plain)]);
        if !args.no_browser && out.can_ask() && environment::has_screen() {
            self.open();
        }
    }

    /// Whether that works or not, the page can be opened by hand.
    fn open(&self) {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let mut command = Command::new(opener);
        command.arg(self.url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = command.spawn();
    }
}

/// Asks until there is an answer, with a sign that it is waited for.
pub(super) async fn until<T, F>(what: &str, out: &Output, mut ask: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<Option<T>, Failure>>,
{
    let (mut patience, spinner) = (Patience::default(), Cleared(out.spinner()));
    loop {
        spinner.0.line(&format!("{what}; Ctrl-C ends the waiting"));
        if let Some(Some(answer)) = patience.bear(ask().await, |text| spinner.0.line(text)).await? {
            return Ok(answer);
        }
        sleep(INTERVAL).await;
    }
}

/// What comes of waiting; nothing when somebody at the terminal has had enough of it.
pub(super) async fn or_interrupted<T>(waiting: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        waited = waiting => Some(waited),
        _ = tokio::signal::ctrl_c() => None,
    }
}

/// Whatever ends the waiting takes its sign away.
struct Cleared(crate::output::Live);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::environment::Environment;
    use crate::settings::Settings;

    #[test]
    fn only_a_page_of_the_web_is_opened() {
        let settings = Settings::discover(Some("http://host.example"), &Environment::default()).unwrap();
        let client = Client::new(settings).unwrap();
        let page =
            Page::read(&client, &json!({ "url": "https://checkout.stripe.com/c/1", "payment_id": "p" })).unwrap();
        assert_eq!((page.url.as_str(), page.payment.as_deref()), ("https://checkout.stripe.com/c/1", Some("p")));
        for url in ["file:///etc/passwd", "javascript:alert(1)", "--help", "https://", ""] {
            assert!(Page::read(&client, &json!({ "url": url })).is_err(), "{url}");
        }
        assert!(Page::read(&client, &json!({})).is_err());
    }
}
