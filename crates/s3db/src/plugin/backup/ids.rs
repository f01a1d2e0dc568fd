//! Names of backups, and placeholders in paths.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupType {
    /// Everything.
    Full,
    /// What changed since the last backup.
    Incremental,
    /// What changed since the last full one.
    Differential,
}

impl BackupType {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
        }
    }
}

impl fmt::Display for BackupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BackupType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Full, Self::Incremental, Self::Differential].into_iter().find(|kind| kind.as_str() == text).ok_or_else(
            || {
                Error::new(ErrorKind::Invalid, format!("'{text}' is no type of backup"))
                    .guide("types are full, incremental and differential")
            },
        )
    }
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const RANDOM: usize = 6;

/// The part of an id that no other has.
pub(super) fn suffix(entropy: &dyn Entropy) -> String {
    let mut random = [0u8; RANDOM];
    entropy.fill(&mut random);
    let letter = |byte: &u8| char::from(BASE32.get(usize::from(byte & 31)).copied().unwrap_or(b'a'));
    random.iter().map(letter).collect()
}

/// A new id: `backup_<type>_<YYYYMMDDTHHMMSSmmmZ>_<6 base32>`.
pub(super) fn make(kind: BackupType, at_ms: i64, random: &str) -> String {
    let at = instant(at_ms).strftime("%Y%m%dT%H%M%S");
    format!("backup_{kind}_{at}{:03}Z_{random}", at_ms.rem_euclid(1000))
}

/// Whether a text is an id of ours.
pub(super) fn is_id(text: &str) -> bool {
    let mut parts = text.split('_');
    let shape = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    let (Some("backup"), Some(kind), Some(at), Some(random), None) = shape else { return false };
    let bytes = at.as_bytes();
    let digits = bytes.iter().enumerate().all(|(n, b)| match n {
        8 => *b == b'T',
        18 => *b == b'Z',
        _ => b.is_ascii_digit(),
    });
    let is_random = random.len() == RANDOM && random.bytes().all(|b| BASE32.contains(&b));
    kind.parse::<BackupType>().is_ok() && bytes.len() == 19 && digits && is_random
}

fn instant(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or_default()
}

/// The zone of a name.
pub(super) fn zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|_| {
        Error::new(ErrorKind::Invalid, format!("the time zone '{name}' is unknown"))
            .guide("write a name of the IANA database, such as UTC or America/Sao_Paulo")
    })
}

const PLACEHOLDERS: [&str; 7] = ["date", "time", "year", "month", "day", "type", "backupId"];

/// Refuses a path with a placeholder that there is not.
pub(super) fn check_template(template: &str) -> Result<()> {
    let mut rest = template;
    while let Some((_, tail)) = rest.split_once('{') {
        let Some((name, tail)) = tail.split_once('}') else {
            return Err(Error::new(ErrorKind::Invalid, format!("the path '{template}' has a '{{' without a '}}'"))
                .guide(known()));
        };
        if !PLACEHOLDERS.contains(&name) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("the path '{template}' has the unknown placeholder {{{name}}}"),
            )
            .guide(s3db_format::error::did_you_mean(name, PLACEHOLDERS).unwrap_or_else(known)));
        }
        rest = tail;
    }
    Ok(())
}

fn known() -> String {
    format!("placeholders are {}", PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(" "))
}

/// A path with every placeholder replaced, by the instant at which the backup began.
pub(super) fn expand(template: &str, id: &str, kind: BackupType, at_ms: i64, zone: &TimeZone) -> String {
    let at = instant(at_ms).to_zoned(zone.clone());
    let values = [
        ("{date}", at.strftime("%Y-%m-%d").to_string()),
        ("{time}", at.strftime("%H-%M-%S").to_string()),
        ("{year}", at.strftime("%Y").to_string()),
        ("{month}", at.strftime("%m").to_string()),
        ("{day}", at.strftime("%d").to_string()),
        ("{type}", kind.to_string()),
        ("{backupId}", id.to_owned()),
    ];
    values.iter().fold(template.to_owned(), |path, (name, value)| path.replace(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn ids_are_made_and_known() {
        let id = make(BackupType::Full, 1_700_000_000_123, &suffix(&SeededEntropy::new(1)));
        assert!(id.starts_with("backup_full_20231114T221320123Z_"), "{id}");
        assert!(is_id(&id));
        for wrong in ["", "backup_full_1795383752867", "backup_half_20231114T221320123Z_aaaaaa", &id[..id.len() - 1]] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn every_placeholder_is_replaced_every_time_in_the_zone() {
        let zone = zone("America/Sao_Paulo").unwrap();
        let expanded =
            expand("a/{date}/{time}/{year}{month}{day}/{type}/{backupId}/{date}", "b1", BackupType::Full, 0, &zone);
        assert_eq!(expanded, "a/1969-12-31/21-00-00/19691231/full/b1/1969-12-31");
        assert!(super::zone("Atlantis/Capital").is_err());
        assert!(check_template("x/{date}/y").is_ok());
        for wrong in ["x/{dat}/y", "x/{date", "{}"] {
            assert!(check_template(wrong).is_err(), "{wrong}");
        }
    }
}
