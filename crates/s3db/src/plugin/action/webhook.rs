//! `webhook`: an HTTP request, signed as the Standard Webhooks specification says.
//!
//! Headers: `webhook-id` is made from the action's token, the same each time that the action runs, so that
//! the receiver can leave out what it has seen; `webhook-timestamp` is the second; with `secretEnv`,
//! `webhook-signature` is `v1,` and the base64 text of HMAC-SHA256 over `id.timestamp.body`
//! (<https://github.com/standard-webhooks/standard-webhooks>, "Signature scheme"). Redirects are not
//! followed: a signed request goes where its author sent it.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;

use super::{Fields, Situation, Template, id_from, object_of, text_of};

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
const MOST_RETRIES: u64 = 10;
/// Bytes of an answer that are read: enough to tell what went wrong.
#[cfg(feature = "webhook")]
const ANSWER_BYTES: usize = 2048;

/// A request to be sent.
#[derive(Debug)]
pub(crate) struct Webhook {
    url: Template,
    method: String,
    headers: Option<Template>,
    body: Option<Template>,
    secret_env: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<u32>,
}

/// A request whose expressions are filled in.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Webhook {
    pub(crate) fn compile(fields: &mut Fields<'_>) -> Option<Self> {
        fields.only(&["url", "method", "headers", "body", "timeout", "retries", "secretEnv"]);
        let url = fields.text("url");
        if let Some(Value::String(text)) = fields.get("url")
            && !text.starts_with('=')
            && !is_http(text)
        {
            fields.problem("url", "must be an http:// or https:// address");
        }
        let method = match fields.get("method").is_some() {
            true => fields.name("method")?.to_ascii_uppercase(),
            false => "POST".to_owned(),
        };
        if !METHODS.contains(&method.as_str()) {
            fields.problem("method", format!("must be one of {}", METHODS.join(", ")));
        }
        let headers = fields.get("headers").is_some().then(|| fields.object("headers")).flatten();
        let body = fields.any("body");
        let retries = fields.get("retries").cloned().and_then(|given| {
            let retries = given.as_u64().filter(|n| *n <= MOST_RETRIES).and_then(|n| u32::try_from(n).ok());
            if retries.is_none() {
                fields.problem("retries", format!("must be a number from 0 to {MOST_RETRIES}"));
            }
            retries
        });
        let secret_env = fields.get("secretEnv").is_some().then(|| fields.name("secretEnv")).flatten();
        let timeout = fields.duration("timeout");
        Some(Self { url: url?, method, headers, body, secret_env, timeout, retries })
    }

    pub(crate) async fn run(&self, situation: &Situation) -> Result<Value, String> {
        send(self.request(situation)?).await
    }

    fn request(&self, situation: &Situation) -> Result<Request, String> {
        let variables = &situation.variables;
        let url = text_of(self.url.render(variables)?, "'url'")?;
        if !is_http(&url) {
            return Err(format!("'url' must be an http:// or https:// address, this is '{}'", crate::url::mask(&url)));
        }
        let body = match &self.body {
            None => Bytes::new(),
            Some(body) => match body.render(variables)? {
                Value::String(text) => Bytes::from(text),
                json => Bytes::from(json.to_string()),
            },
        };
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), concat!("s3db/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        if let Some(given) = &self.headers {
            for (name, value) in object_of(given.render(variables)?, "'headers'")? {
                let (name, value) = (name.to_ascii_lowercase(), text_of(value, &format!("header '{name}'"))?);
                headers.retain(|(other, _)| *other != name);
                headers.push((name, value));
            }
        }
        // Names may hold what a header cannot.
        let id = format!("msg_{}", id_from(&situation.token));
        let at = (situation.now_ms / 1000).to_string();
        if let Some(variable) = &self.secret_env {
            let secret = std::env::var(variable).ok().filter(|s| !s.is_empty());
            let secret = secret.ok_or_else(|| format!("the environment has no {variable}, which 'secretEnv' names"))?;
            headers.push(("webhook-signature".into(), signature(&secret, &id, &at, &body)?));
        }
        headers.extend([("webhook-id".to_owned(), id), ("webhook-timestamp".to_owned(), at)]);
        Ok(Request { method: self.method.clone(), url, headers, body })
    }
}

fn is_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// A secret that begins with `whsec_` is base64, any other is taken as it stands.
fn signature(secret: &str, id: &str, at: &str, body: &[u8]) -> Result<String, String> {
    let base64 = &base64::engine::general_purpose::STANDARD;
    let key = match secret.strip_prefix("whsec_") {
        Some(text) => base64.decode(text).map_err(|e| format!("the secret is no base64 behind 'whsec_': {e}"))?,
        None => secret.as_bytes().to_vec(),
    };
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).map_err(|e| format!("the secret cannot be a key: {e}"))?;
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", base64.encode(mac.finalize().into_bytes())))
}

#[cfg(feature = "webhook")]
async fn send(request: Request) -> Result<Value, String> {
    use http_body_util::{BodyExt as _, Full, Limited};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    let shown = crate::url::mask(&request.url);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|e| format!("the certificates of this machine cannot be read: {e}"))?
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let mut builder = hyper::Request::builder().method(request.method.as_str()).uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let whole = builder.body(Full::new(request.body)).map_err(|e| format!("{shown}: {e}"))?;
    let answer = client.request(whole).await.map_err(|e| format!("{shown}: {}", chain(&e)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(Value::Null);
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    let text = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).trim().to_owned()).unwrap_or_default();
    Err(format!("{shown} answered {status}{}{text}", if text.is_empty() { "" } else { ": " }))
}

#[cfg(not(feature = "webhook"))]
async fn send(request: Request) -> Result<Value, String> {
    let Request { method, url, headers, body } = request;
    let size = headers.len() + body.len();
    Err(format!(
        "{method} {} of {size} bytes: this program was built without the feature 'webhook'",
        crate::url::mask(&url)
    ))
}

/// An error with its causes.
#[cfg(feature = "webhook")]
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let (secret, id) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek");
        let signed = signature(secret, id, "1614265330", br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
