//! The settings of the language model, which belong together: half of them is an error at the start, not a model that
//! is silently left out.

use std::fmt;

use clawrk_domain::limits;
use url::Url;

use super::{ConfigError, MASK, invalid};

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// `/v1/chat/completions`, as OpenAI and many others answer it.
    OpenAi,
    /// `/v1/messages`, as Anthropic answers it.
    Anthropic,
    /// `/api/chat`, as Ollama answers it.
    Ollama,
}

/// Which language model is asked, and where; printed, its address and its key are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct LlmSetting {
    /// How it is spoken to.
    pub provider: Provider,
    /// Where questions are sent: the whole address.
    pub url: Url,
    /// Which of the models there.
    pub model: String,
    /// Who asks.
    pub api_key: Option<String>,
    /// What else reads the submissions of dear jobs.
    pub second: Option<SecondModel>,
}

/// Another model of the same provider, for dear jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondModel {
    /// Its name.
    pub model: String,
    /// The price from which it is asked too, in cents.
    pub from_cents: i64,
}

impl fmt::Debug for LlmSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, model, second, .. } = self;
        f.debug_struct("LlmSetting")
            .field("provider", provider)
            .field("model", model)
            .field("second", second)
            .finish_non_exhaustive()
    }
}

impl LlmSetting {
    /// What the settings say, each asked for by its name.
    pub(super) fn read(text: &impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let provider = Provider::read(text("llm_provider").as_deref())?;
        let (address, api_key) = (text("llm_url"), text("llm_api_key"));
        let second = SecondModel::read(text)?;
        let Some(model) = text("llm_model") else {
            let is_begun = address.is_some() || api_key.is_some() || second.is_some() || provider != Provider::OpenAi;
            let missing = invalid("llm_model", "the name of a model, beside the other settings of the LLM", "left out");
            return if is_begun { Err(missing) } else { Ok(None) };
        };
        if provider != Provider::Ollama && address.is_none() && api_key.is_none() {
            return Err(invalid(
                "llm_api_key",
                "given beside llm_model, or llm_url where no key is needed",
                "left out",
            ));
        }
        if api_key.as_ref().is_some_and(|key| !key.chars().all(|character| character.is_ascii_graphic())) {
            return Err(invalid("llm_api_key", "visible ASCII characters", MASK));
        }
        // The address may hold a password.
        let url = provider.chat_at(address.as_deref().unwrap_or_else(|| provider.home()));
        let url = url.ok_or_else(|| invalid("llm_url", "an http(s) URL", MASK))?;
        Ok(Some(Self { provider, url, model, api_key, second }))
    }
}

impl SecondModel {
    fn read(text: &impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        const NEEDS: &str = "a price of 0 to 100000 cents";
        match (text("judge_second_model"), text("judge_second_from_cents")) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(invalid("judge_second_model", "given beside judge_second_from_cents", "left out")),
            (Some(_), None) => Err(invalid("judge_second_from_cents", NEEDS, "left out beside judge_second_model")),
            (Some(model), Some(given)) => {
                let fits = given.parse().ok().filter(|cents| (0..=*limits::PRICE_CENTS.end()).contains(cents));
                let from_cents = fits.ok_or_else(|| invalid("judge_second_from_cents", NEEDS, &given))?;
                Ok(Some(Self { model, from_cents }))
            }
        }
    }
}

impl Provider {
    fn read(name: Option<&str>) -> Result<Self, ConfigError> {
        match name {
            None | Some("openai") => Ok(Self::OpenAi),
            Some("anthropic") => Ok(Self::Anthropic),
            Some("ollama") => Ok(Self::Ollama),
            Some(other) => Err(invalid("llm_provider", "openai, anthropic or ollama", other)),
        }
    }

    /// Where it is when nobody says.
    const fn home(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
            Self::Ollama => "http://127.0.0.1:11434",
        }
    }

    /// Where questions are sent: below the address, as far as it does not end so already.
    fn chat_at(self, address: &str) -> Option<Url> {
        let mut url =
            Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
        let path = url.path().trim_end_matches('/').to_owned();
        let (version, rest) = match self {
            Self::OpenAi => ("/v1", "/chat/completions"),
            Self::Anthropic => ("/v1", "/messages"),
            Self::Ollama => ("/api", "/chat"),
        };
        let has_version = match self {
            // Others keep theirs under other names.
            Self::OpenAi => !path.is_empty(),
            Self::Anthropic | Self::Ollama => path.ends_with(version),
        };
        url.set_path(&match path {
            path if path.ends_with(rest) => path,
            path if has_version => format!("{path}{rest}"),
            path => format!("{path}{version}{rest}"),
        });
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    fn llm(flags: &[(&str, &str)]) -> Result<Option<LlmSetting>, ConfigError> {
        let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&Sources { flags, ..Sources::default() }).unwrap().config().map(|config| config.llm)
    }

    #[test]
    fn a_model_is_asked_where_its_provider_answers() {
        assert_eq!(llm(&[]), Ok(None));
        for (provider, given, used) in [
            ("openai", "", "https://api.openai.com/v1/chat/completions"),
            ("openai", "http://localhost:8000", "http://localhost:8000/v1/chat/completions"),
            ("openai", "https://x.test/a/v4/", "https://x.test/a/v4/chat/completions"),
            ("openai", "https://x.test/chat/completions?v=1", "https://x.test/chat/completions?v=1"),
            ("anthropic", "", "https://api.anthropic.com/v1/messages"),
            ("anthropic", "https://x.test/v1", "https://x.test/v1/messages"),
            ("anthropic", "https://x.test/a", "https://x.test/a/v1/messages"),
            ("ollama", "", "http://127.0.0.1:11434/api/chat"),
            ("ollama", "http://x.test/api/", "http://x.test/api/chat"),
        ] {
            let flags = [("llm_provider", provider), ("llm_url", given), ("llm_model", "m"), ("llm_api_key", "canary")];
            let found = llm(&flags).unwrap().unwrap();
            assert_eq!(found.url.as_str(), used);
            assert!(!format!("{found:?}").contains("canary"), "{found:?}");
        }
        assert!(llm(&[("llm_provider", "ollama"), ("llm_model", "m")]).unwrap().is_some(), "it needs no key");
        let second = [("llm_model", "m"), ("llm_url", "http://x"), ("judge_second_model", "n")];
        let found = llm(&[&second[..], &[("judge_second_from_cents", "5000")]].concat()).unwrap().unwrap();
        assert_eq!(found.second, Some(SecondModel { model: "n".to_owned(), from_cents: 5000 }));
    }

    #[test]
    fn half_a_model_is_an_error_that_says_what_is_missing() {
        let key = ("llm_api_key", "k-canary");
        let wrong: [(&[(&str, &str)], &str); 12] = [
            (&[key], "llm_model"),
            (&[("llm_url", "http://x")], "llm_model"),
            (&[("llm_provider", "ollama")], "llm_model"),
            (&[("judge_second_model", "n"), ("judge_second_from_cents", "1")], "llm_model"),
            (&[("llm_model", "m")], "llm_api_key"),
            (&[("llm_model", "m"), ("llm_provider", "anthropic")], "llm_api_key"),
            (&[("llm_model", "m"), ("llm_api_key", "secret\n-canary")], "llm_api_key"),
            (&[("llm_model", "m"), ("llm_provider", "gemini")], "llm_provider"),
            (&[("llm_model", "m"), ("llm_url", "x.test/canary")], "llm_url"),
            (&[("llm_model", "m"), ("llm_url", "ftp://x/canary")], "llm_url"),
            (&[("llm_model", "m"), key, ("judge_second_model", "n")], "judge_second_from_cents"),
            (&[("llm_model", "m"), key, ("judge_second_from_cents", "1")], "judge_second_model"),
        ];
        for (flags, name) in wrong {
            let error = llm(flags).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} must be ")) && !error.contains("canary"), "{error}");
        }
        for cents in ["-1", "100001", "much"] {
            let flags = [("llm_model", "m"), key, ("judge_second_model", "n"), ("judge_second_from_cents", cents)];
            assert!(llm(&flags).unwrap_err().to_string().starts_with("judge_second_from_cents must be "));
        }
    }
}
