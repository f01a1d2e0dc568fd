//! Connection URLs.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::error::{Error, ErrorKind, Result};

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local directory.
    Directory(PathBuf),
    /// A store in this process.
    Memory(String),
    /// A bucket on an S3 server.
    Bucket(Bucket),
}

/// A bucket on an S3 server. Its keys are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name; `s3db` where the URL has none.
    pub name: String,
    /// The prefix of every key, as it stands in the URL.
    pub prefix: String,
    /// The server; `None` is AWS.
    pub endpoint: Option<String>,
    /// The region; `None` takes the environment's, or `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket stands in the path.
    pub path_style: bool,
    /// Key and secret; `None` leaves them to the environment.
    pub credentials: Option<(String, String)>,
    /// Requests that may be under way at once.
    pub parallelism: Option<usize>,
    /// `unsafe=last-write-wins`: writes are allowed where the server holds no conditions.
    pub last_write_wins: bool,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Location {
    /// Reads a URL. A relative path of `file:` is taken from `base`.
    ///
    /// # Errors
    /// `Invalid`, naming the part that is wrong; secrets are masked.
    ///
    /// ```
    /// use s3db::{Location, Bucket};
    /// let at = Location::parse("file:./data", std::path::Path::new("/srv")).unwrap();
    /// assert_eq!(at, Location::Directory("/srv/data".into()));
    /// assert!(Location::parse("ftp://x/y", std::path::Path::new(".")).is_err());
    /// ```
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(invalid(text, "it has no scheme").guide(format!("for a local directory write file:{text}")));
        };
        match scheme {
            "file" => directory(text, rest, base),
            "memory" => memory(text, rest),
            "s3" | "http" | "https" => bucket(text, scheme),
            other => Err(invalid(text, &format!("the scheme '{other}' is unknown"))
                .guide("use s3:, http:, https:, file: or memory:")),
        }
    }
}

fn invalid(text: &str, reason: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("invalid connection string '{}': {reason}", mask(text)))
}

/// A URL without its secret, for messages and logs.
pub fn mask(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    // A secret with an unescaped '/' moves the '@' behind the authority; then all of it is hidden.
    match (authority.rsplit_once('@'), tail.contains('@')) {
        (Some((_, host)), _) => format!("{scheme}://***@{host}{tail}"),
        (None, true) => format!("{scheme}://***"),
        (None, false) => text.to_owned(),
    }
}

fn directory(text: &str, rest: &str, base: &Path) -> Result<Location> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    refuse_options(text, query, &[])?;
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(host) => {
            return Err(invalid(text, &format!("'{host}' would be a host"))
                .guide("write file:///absolute/path or file:relative/path"));
        }
        None => path,
    };
    let path = percent_decode_str(path).decode_utf8().map_err(|_| invalid(text, "the path is not UTF-8"))?;
    if path.is_empty() {
        return Err(invalid(text, "it names no directory").guide("write file:./data"));
    }
    let plain: PathBuf = base.join(path.as_ref()).components().collect();
    let below: PathBuf = plain.components().filter(|c| !matches!(c, std::path::Component::CurDir)).collect();
    Ok(Location::Directory(if below.as_os_str().is_empty() { plain } else { below }))
}

fn memory(text: &str, rest: &str) -> Result<Location> {
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    refuse_options(text, query, &[])?;
    Ok(Location::Memory(name.trim_start_matches('/').to_owned()))
}

const OPTIONS: [&str; 5] = ["region", "endpoint", "forcePathStyle", "parallelism", "unsafe"];

fn refuse_options(text: &str, query: &str, known: &[&str]) -> Result<()> {
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !known.contains(&name) {
            let hint = s3db_format::error::did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known {
                [] => "this kind of URL takes no options".to_owned(),
                known => format!("known options: {}", known.join(", ")),
            });
            return Err(invalid(text, &format!("the option '{name}' is unknown")).guide(hint));
        }
    }
    Ok(())
}

fn bucket(text: &str, scheme: &str) -> Result<Location> {
    let parsed = url::Url::parse(text)
        .map_err(|e| invalid(text, &e.to_string()).guide("percent-encode a '/' in the secret as %2F"))?;
    refuse_options(text, parsed.query().unwrap_or_default(), &OPTIONS)?;
    let option = |name: &str| parsed.query_pairs().find(|(k, _)| k == name).map(|(_, v)| v.into_owned());
    let decode = |part: &str, what: &str| {
        percent_decode_str(part)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| invalid(text, &format!("the {what} is not UTF-8")))
    };
    let credentials = match (parsed.username(), parsed.password()) {
        ("", None) => None,
        (key, secret) => Some((decode(key, "access key")?, decode(secret.unwrap_or_default(), "secret")?)),
    };
    let path = parsed.path().trim_start_matches('/');
    let (name, prefix) = if scheme == "s3" {
        (decode(parsed.host_str().unwrap_or_default(), "bucket")?, path)
    } else {
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        (decode(bucket, "bucket")?, prefix)
    };
    let endpoint = match option("endpoint") {
        Some(endpoint) if endpoint.starts_with("http://") || endpoint.starts_with("https://") => Some(endpoint),
        Some(endpoint) => {
            return Err(invalid(text, &format!("the endpoint '{endpoint}' is no URL"))
                .guide(format!("write endpoint=https://{endpoint}")));
        }
        None if scheme == "s3" => None,
        None => Some(parsed.origin().ascii_serialization()),
    };
    let parallelism = option("parallelism")
        .map(|p| {
            p.parse::<usize>()
                .ok()
                .filter(|n| (1..=1024).contains(n))
                .ok_or_else(|| invalid(text, "parallelism must be 1 to 1024"))
        })
        .transpose()?;
    let path_style = match option("forcePathStyle").as_deref() {
        None => scheme != "s3" || endpoint.is_some(),
        Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(invalid(text, &format!("forcePathStyle is '{other}'")).guide("write true or false")),
    };
    let last_write_wins = match option("unsafe").as_deref() {
        None => false,
        Some("last-write-wins") => true,
        Some(other) => {
            return Err(invalid(text, &format!("unsafe={other} is unknown")).guide("known: unsafe=last-write-wins"));
        }
    };
    Ok(Location::Bucket(Bucket {
        name: if name.is_empty() { "s3db".to_owned() } else { name },
        prefix: prefix.trim_end_matches('/').to_owned(),
        path_style,
        region: option("region").filter(|region| !region.is_empty()),
        endpoint,
        credentials,
        parallelism,
        last_write_wins,
    }))
}
