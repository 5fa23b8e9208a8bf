//! The settings of an embedding model, which belong together: a folder, or an address with a name and perhaps a key.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::{ConfigError, MASK, invalid};

/// Where an embedding model is; printed, its key is masked.
#[derive(Clone, PartialEq, Eq)]
pub enum Embedding {
    /// In a folder.
    Folder(PathBuf),
    /// Behind an address that answers as OpenAI's does.
    Endpoint {
        /// Where texts are sent.
        url: Url,
        /// Which of the models there.
        model: String,
        /// Who asks.
        api_key: Option<String>,
    },
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => f.debug_tuple("Folder").field(path).finish(),
            Self::Endpoint { model, .. } => f.debug_struct("Endpoint").field("model", model).finish_non_exhaustive(),
        }
    }
}

impl Embedding {
    /// What the settings say, each asked for by its name.
    pub(super) fn read(text: &impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let (model, api_key) = (text("embed_model"), text("embed_api_key"));
        match (text("embed_dir"), text("embed_url")) {
            (Some(_), Some(_)) => Err(invalid("embed_url", "left out beside embed_dir: there is one model", "both")),
            (_, None) if model.is_some() => Err(invalid("embed_model", "given together with embed_url", "alone")),
            (_, None) if api_key.is_some() => Err(invalid("embed_api_key", "given together with embed_url", MASK)),
            (folder, None) => Ok(folder.map(|folder| Self::Folder(folder.into()))),
            (None, Some(address)) => {
                let model =
                    model.ok_or_else(|| invalid("embed_model", "the name of a model, beside embed_url", "left out"))?;
                if api_key.as_ref().is_some_and(|key| !key.chars().all(|character| character.is_ascii_graphic())) {
                    return Err(invalid("embed_api_key", "visible ASCII characters", MASK));
                }
                // The address may hold a password.
                let url = embeddings_at(&address).ok_or_else(|| invalid("embed_url", "an http(s) URL", MASK))?;
                Ok(Some(Self::Endpoint { url, model, api_key }))
            }
        }
    }
}

/// Where texts are sent: `/v1/embeddings` of a bare address, `embeddings` below any other, or the very address if it
/// ends so.
fn embeddings_at(address: &str) -> Option<Url> {
    let mut url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    let path = url.path().trim_end_matches('/');
    let path = match path {
        "" => "/v1/embeddings".to_owned(),
        path if path.ends_with("/embeddings") => path.to_owned(),
        path => format!("{path}/embeddings"),
    };
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    #[test]
    fn an_embedding_model_is_in_a_folder_or_at_an_address_and_its_key_is_not_shown() {
        let embedding = |flags: &[(&str, &str)]| {
            let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let settings = Settings::read(&Sources { flags, ..Sources::default() }).unwrap();
            settings.config().map(|config| config.embedding)
        };
        assert_eq!(embedding(&[]), Ok(None));
        assert_eq!(embedding(&[("embed_dir", "/m")]), Ok(Some(Embedding::Folder("/m".into()))));
        for (given, used) in [
            ("http://localhost:11434", "http://localhost:11434/v1/embeddings"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/embeddings"),
            ("https://x.test/a/embeddings?v=1", "https://x.test/a/embeddings?v=1"),
        ] {
            let flags = [("embed_url", given), ("embed_model", "m"), ("embed_api_key", "secret-canary")];
            let found = embedding(&flags).unwrap().unwrap();
            let Embedding::Endpoint { url, .. } = &found else { panic!("{found:?}") };
            assert_eq!(url.as_str(), used);
            assert!(!format!("{found:?}").contains("canary"), "{found:?}");
        }
        let wrong: [&[(&str, &str)]; 7] = [
            &[("embed_dir", "/m"), ("embed_url", "http://x")],
            &[("embed_url", "http://x")],
            &[("embed_url", "ftp://x"), ("embed_model", "m")],
            &[("embed_url", "x"), ("embed_model", "m")],
            &[("embed_model", "m")],
            &[("embed_dir", "/m"), ("embed_api_key", "k")],
            &[("embed_url", "http://x"), ("embed_model", "m"), ("embed_api_key", "secret\n-canary")],
        ];
        for flags in wrong {
            let error = embedding(flags).unwrap_err().to_string();
            assert!(error.starts_with("embed_") && !error.contains("canary"), "{error}");
        }
    }
}
