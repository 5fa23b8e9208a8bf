//! Version 4 of Amazon's signatures, as a provider checks them: made anew from the request and the secret.

use axum::http::{HeaderMap, Method, Uri};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A refusal: its status, and the provider's word for it.
pub type Refusal = (u16, &'static str);

/// What a provider knows of whoever asks.
pub struct Known<'k> {
    pub access_key: &'k str,
    pub secret_key: &'k str,
    pub region: &'k str,
}

/// Whether these bytes were asked for by whoever has the secret, and not changed on the way.
pub fn check(known: &Known<'_>, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts = of("authorization").strip_prefix("AWS4-HMAC-SHA256 ").ok_or((403, "AccessDenied"))?;
    let part = |name: &str| {
        let found = parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or((400, "AuthorizationHeaderMalformed"))
    };
    let (credential, names, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
    let (access_key, scope) = credential.split_once('/').ok_or((400, "AuthorizationHeaderMalformed"))?;
    if access_key != known.access_key {
        return Err((403, "InvalidAccessKeyId"));
    }
    let date = of("x-amz-date");
    let day = date.get(..8).unwrap_or_default();
    if scope != format!("{day}/{}/s3/aws4_request", known.region) {
        return Err((400, "AuthorizationHeaderMalformed"));
    }
    let names: Vec<&str> = names.split(';').collect();
    let must_be_signed = |name: &str| name == "host" || name.starts_with("x-amz-");
    if !names.is_sorted() || headers.keys().any(|name| must_be_signed(name.as_str()) && !names.contains(&name.as_str()))
    {
        return Err((403, "AccessDenied"));
    }
    let digest = of("x-amz-content-sha256");
    if digest != hex::encode(Sha256::digest(body)) {
        return Err((400, "XAmzContentSHA256Mismatch"));
    }
    let lines = names.iter().map(|name| {
        let values = headers.get_all(*name).iter().filter_map(|value| value.to_str().ok());
        let values: Vec<String> = values.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        format!("{name}:{}\n", values.join(","))
    });
    let request = [method.as_str(), uri.path(), &query(uri), &lines.collect::<String>(), &names.join(";"), digest];
    let told = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(request.join("\n"))));
    let first = format!("AWS4{}", known.secret_key).into_bytes();
    let key = [day, known.region, "s3", "aws4_request"].iter().fold(first, |key, word| mac(&key, word));
    if hex::encode(mac(&key, &told)) == signature { Ok(()) } else { Err((403, "SignatureDoesNotMatch")) }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The query in its one form: strictly encoded, in the order of its names.
fn query(uri: &Uri) -> String {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut pairs: Vec<String> = pairs.map(|(name, value)| format!("{}={}", strict(&name), strict(&value))).collect();
    pairs.sort();
    pairs.join("&")
}

fn strict(text: &str) -> String {
    let encoded = text.bytes().map(|byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    encoded.collect()
}

/// Amazon's own example of a signed request ("Signature Calculations for the Authorization Header": GET Object), and
/// what must not be changed about it.
#[test]
fn the_fakes_signatures_are_amazons() {
    let known = Known {
        access_key: "AKIAIOSFODNN7EXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region: "us-east-1",
    };
    let signed = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
        SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
        Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let request = [
        ("authorization", signed),
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("x-amz-date", "20130524T000000Z"),
    ];
    let answer = |method: Method, uri: &'static str, known: &Known<'_>, changed: (&'static str, &'static str)| {
        let mut headers = HeaderMap::new();
        request
            .into_iter()
            .chain([changed])
            .for_each(|(name, value)| drop(headers.insert(name, value.parse().unwrap())));
        check(known, &method, &Uri::from_static(uri), &headers, b"")
    };
    let same = request[1];
    assert_eq!(answer(Method::GET, "/test.txt", &known, same), Ok(()));
    let wrong = Err((403, "SignatureDoesNotMatch"));
    assert_eq!(answer(Method::DELETE, "/test.txt", &known, same), wrong);
    assert_eq!(answer(Method::GET, "/test.tx", &known, same), wrong);
    assert_eq!(answer(Method::GET, "/test.txt?x=y", &known, same), wrong);
    assert_eq!(answer(Method::GET, "/test.txt", &known, ("range", "bytes=0-99")), wrong);
    assert_eq!(answer(Method::GET, "/test.txt", &known, ("host", "another.example")), wrong);
    assert_eq!(answer(Method::GET, "/test.txt", &known, ("x-amz-acl", "public-read")), Err((403, "AccessDenied")));
    assert_eq!(answer(Method::GET, "/test.txt", &Known { secret_key: "another", ..known }, same), wrong);
}
