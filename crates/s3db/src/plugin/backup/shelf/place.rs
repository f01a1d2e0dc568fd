//! A destination, opened: where it is, how its backups are named, and what stands there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use s3db_store::Store;
use s3db_store::clock::Clock;

use super::super::ids::{self, BackupType};
use super::super::manifest::{BEGUN, DELETING, MANIFEST, PINNED, VERIFIED};
use super::super::settings::{Compression, Credentials, DestinationSettings};
use super::{Bucket, Folder, Shelf};
use crate::database::{Inner, open_store};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::url::{self, Location};

/// A destination, opened.
#[derive(Debug, Clone)]
pub(in super::super) struct Place {
    pub(in super::super) shelf: Arc<dyn Shelf>,
    /// The part of the path that has placeholders.
    template: String,
    pub(in super::super) compression: Option<Compression>,
    /// `filesystem` or `s3`.
    pub(in super::super) kind: &'static str,
}

/// A backup that stands somewhere, complete or not.
#[derive(Debug, Clone)]
pub(in super::super) struct Standing {
    pub(in super::super) id: String,
    /// Its folder, with a `/` at the end.
    pub(in super::super) folder: String,
    /// Its files and their sizes, by their paths in it.
    pub(in super::super) files: BTreeMap<String, u64>,
}

impl Standing {
    pub(in super::super) fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    pub(in super::super) fn has_manifest(&self) -> bool {
        self.has(MANIFEST)
    }

    /// Whether a file is one of those that say something about a backup, and that no manifest lists.
    pub(in super::super) fn is_note(file: &str) -> bool {
        [MANIFEST, BEGUN, DELETING, PINNED, VERIFIED].contains(&file) || file.starts_with("keys/")
    }
}

/// What opening needs beside the settings.
#[derive(Debug, Clone)]
pub(in super::super) struct Tools {
    pub(in super::super) folder: PathBuf,
    pub(in super::super) clock: Arc<dyn Clock>,
    pub(in super::super) entropy: Arc<dyn Entropy>,
}

impl Place {
    /// Opens a destination.
    ///
    /// # Errors
    /// `Invalid` for a path that cannot be; what opening the bucket returns.
    pub(in super::super) async fn open(settings: &DestinationSettings, tools: &Tools) -> Result<Self> {
        let place = |shelf, template: String| Self {
            shelf,
            template,
            compression: settings.compression(),
            kind: settings.kind(),
        };
        match settings {
            DestinationSettings::Filesystem { path, .. } => {
                let (root, template) = split(path)?;
                let folder = tools.folder.join(if root.is_empty() { "." } else { &root });
                Ok(place(Arc::new(Folder::new(clean(&folder), tools)), template))
            }
            DestinationSettings::S3 { bucket, path, region, storage_class, endpoint, credentials, .. } => {
                let (root, template) = split(path.as_deref().unwrap_or_default())?;
                let location = url::Bucket {
                    name: bucket.clone(),
                    prefix: root.trim_matches('/').to_owned(),
                    path_style: endpoint.is_some(),
                    endpoint: endpoint.clone(),
                    region: region.clone(),
                    credentials: credentials.as_ref().map(keys_of).transpose()?,
                    parallelism: None,
                    last_write_wins: true,
                };
                let store = Box::pin(open_store(Location::Bucket(location), true, &tools.clock)).await?.0;
                Ok(place(Self::over(store, tools, storage_class.clone()), template))
            }
        }
    }

    /// Opens what a path or URL names: a folder, a bucket, or one backup in it.
    pub(in super::super) async fn at(text: &str, tools: &Tools) -> Result<Self> {
        let location = match text.split_once(':') {
            Some(("s3" | "http" | "https" | "memory", _)) => Location::parse(text, &tools.folder)?,
            Some(("file", _)) => Location::parse(text, &tools.folder)?,
            _ => Location::Directory(tools.folder.join(text)),
        };
        let above_a_backup = |path: &str| {
            let path = path.trim_end_matches('/');
            let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
            ids::is_id(last).then(|| above.to_owned())
        };
        let (shelf, kind): (Arc<dyn Shelf>, _) = match location {
            Location::Directory(path) => {
                let path = match above_a_backup(&path.to_string_lossy()) {
                    Some(above) if above.is_empty() => PathBuf::from("."),
                    Some(above) => PathBuf::from(above),
                    None => path,
                };
                if !path.is_dir() {
                    return Err(Error::new(ErrorKind::NotFound, format!("there is no folder {}", path.display()))
                        .guide("name the folder that holds the backups, or one backup in it"));
                }
                (Arc::new(Folder::new(clean(&path), tools)), "filesystem")
            }
            Location::Bucket(mut bucket) => {
                bucket.prefix = above_a_backup(&bucket.prefix).unwrap_or(bucket.prefix);
                bucket.last_write_wins = true;
                (
                    Self::over(
                        Box::pin(open_store(Location::Bucket(bucket), true, &tools.clock)).await?.0,
                        tools,
                        None,
                    ),
                    "s3",
                )
            }
            memory @ Location::Memory(_) => {
                (Self::over(Box::pin(open_store(memory, true, &tools.clock)).await?.0, tools, None), "memory")
            }
        };
        Ok(Self { shelf, template: String::new(), compression: None, kind })
    }

    /// A place in a store that is open already.
    pub(in super::super) fn in_store(store: Arc<dyn Store>, tools: &Tools) -> Self {
        Self { shelf: Self::over(store, tools, None), template: String::new(), compression: None, kind: "store" }
    }

    fn over(store: Arc<dyn Store>, tools: &Tools, storage_class: Option<String>) -> Arc<dyn Shelf> {
        let inner = Inner::over(store, Arc::clone(&tools.clock), Arc::clone(&tools.entropy));
        Arc::new(Bucket::new(Arc::new(inner), storage_class))
    }

    /// The folder of a new backup, with a `/` at the end.
    pub(in super::super) fn folder_of(&self, id: &str, kind: BackupType, at_ms: i64, zone: &TimeZone) -> String {
        let expanded = ids::expand(&self.template, id, kind, at_ms, zone);
        let expanded = expanded.trim_matches('/');
        match expanded {
            "" => format!("{id}/"),
            path if path.rsplit('/').next() == Some(id) => format!("{path}/"),
            path => format!("{path}/{id}/"),
        }
    }

    /// Every backup that stands here, complete or not, in no order.
    pub(in super::super) async fn standing(&self) -> Result<Vec<Standing>> {
        let mut found: BTreeMap<String, Standing> = BTreeMap::new();
        for stored in self.shelf.list("").await? {
            let Some((folder, id, file)) = in_backup(&stored.path) else { continue };
            if !found.contains_key(folder) {
                let standing = Standing { id: id.to_owned(), folder: folder.to_owned(), files: BTreeMap::new() };
                found.insert(folder.to_owned(), standing);
            }
            if let Some(standing) = found.get_mut(folder) {
                standing.files.insert(file.to_owned(), stored.size);
            }
        }
        Ok(found.into_values().collect())
    }

    /// Where it is, without secrets.
    pub(in super::super) fn location(&self) -> String {
        self.shelf.location()
    }
}

/// A path without links, as far as it is there.
pub(in super::super) fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in whole.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(above), whole.strip_prefix(above)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    whole
}

/// Two destinations of which one lies in the other would take each other's backups for their own.
pub(in super::super) fn refuse_overlaps<'a>(places: impl Iterator<Item = &'a Place>) -> Result<()> {
    let at = |place: &Place| match place.kind {
        "filesystem" => real(Path::new(&place.location())).display().to_string(),
        "s3" => place.location(),
        // Stores that are given have no names that tell them apart.
        _ => String::new(),
    };
    let places: Vec<(String, String)> =
        places.map(|place| (format!("{}/", at(place).trim_end_matches('/')), place.location())).collect();
    for (n, (path, location)) in places.iter().enumerate().filter(|(_, (path, _))| path.len() > 1) {
        if let Some((_, other)) = places.iter().skip(n + 1).find(|(other, _)| {
            other.len() > 1 && (other.starts_with(path.as_str()) || path.starts_with(other.as_str()))
        }) {
            return Err(Error::new(ErrorKind::Invalid, format!("the destinations {location} and {other} overlap"))
                .guide("name places of which none is the other or lies in it"));
        }
    }
    Ok(())
}

/// The folder of a backup, its id, and the file in it that a path names.
fn in_backup(path: &str) -> Option<(&str, &str, &str)> {
    let mut start = 0;
    for part in path.split('/') {
        let end = start + part.len();
        if ids::is_id(part) && end < path.len() {
            return Some((path.get(..=end)?, part, path.get(end + 1..)?));
        }
        start = end + 1;
    }
    None
}

/// The part of a path before its placeholders, and the rest.
fn split(path: &str) -> Result<(String, String)> {
    ids::check_template(path)?;
    if path.split('/').any(|part| part == "..") && path.contains('{') {
        return Err(Error::new(ErrorKind::Invalid, format!("the path '{path}' has '..' beside placeholders"))
            .guide("write the folder without '..'"));
    }
    match path.find('{') {
        None => Ok((path.to_owned(), String::new())),
        Some(at) => {
            let end = path.get(..at).and_then(|fixed| fixed.rfind('/')).map_or(0, |slash| slash + 1);
            let (root, template) = path.split_at(end);
            Ok((root.to_owned(), template.to_owned()))
        }
    }
}

/// A path without `.` in it.
fn clean(path: &Path) -> PathBuf {
    let plain: PathBuf = path.components().filter(|c| !matches!(c, std::path::Component::CurDir)).collect();
    if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
}

fn keys_of(credentials: &Credentials) -> Result<(String, String)> {
    let one = |value: &Option<String>, variable: &Option<String>, name: &str| match (value, variable) {
        (Some(value), None) => Ok(value.clone()),
        (None, Some(variable)) => std::env::var(variable).map_err(|_| {
            Error::new(ErrorKind::Invalid, format!("credentials.{name}Env: the variable {variable} is not set"))
                .guide(format!("set {variable}"))
        }),
        (Some(_), Some(_)) => Err(Error::new(ErrorKind::Invalid, format!("credentials have {name} and {name}Env"))
            .guide("leave one of them out")),
        (None, None) => Err(Error::new(ErrorKind::Invalid, format!("credentials lack {name}"))
            .guide("give both accessKeyId and secretAccessKey, as they are or as variables, or leave credentials out")),
    };
    Ok((
        one(&credentials.access_key_id, &credentials.access_key_id_env, "accessKeyId")?,
        one(&credentials.secret_access_key, &credentials.secret_access_key_env, "secretAccessKey")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_before_its_first_placeholder() {
        for (path, root, template) in [
            ("./backups/{date}/", "./backups/", "{date}/"),
            ("./backups/app-{date}/x", "./backups/", "app-{date}/x"),
            ("{date}", "", "{date}"),
            ("/srv/backups", "/srv/backups", ""),
        ] {
            assert_eq!(split(path).unwrap(), (root.to_owned(), template.to_owned()), "{path}");
        }
        assert!(split("../{date}").is_err());
    }

    #[test]
    fn backups_are_found_at_any_depth() {
        let id = "backup_full_20231114T221320123Z_abcdef";
        let path = format!("2023/11/{id}/segments/1.jsonl");
        let folder = format!("2023/11/{id}/");
        assert_eq!(in_backup(&path), Some((folder.as_str(), id, "segments/1.jsonl")));
        assert_eq!(in_backup(&format!("x/{id}")), None);
        assert_eq!(in_backup("pins/x.json"), None);
    }
}
