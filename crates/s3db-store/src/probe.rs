//! What a server does with conditions, found out by trying.

use serde::{Deserialize, Serialize};

/// The result of a probe, as it is stored.
///
/// A probe detects a server that ignores conditions, always or now and then; it cannot prove that a
/// server never does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The kind of probe; a result of another kind is made anew.
    pub kind: u32,
    /// The server that was probed.
    pub server: String,
    /// When, in milliseconds since 1970 by the server's time.
    pub probed_ms: i64,
    /// `If-None-Match: *` holds: of eight creators side by side one succeeded, twenty times.
    pub create: bool,
    /// How `If-Match` holds, tried as often.
    pub swap: Swap,
    /// `If-Match` holds for deletes.
    pub conditional_delete: bool,
    /// `If-None-Match: *` holds where an upload in parts is completed.
    pub conditional_multipart: bool,
    /// Listings come in the order of the keys' bytes.
    pub ordered_listing: bool,
}

/// The form of an ETag under which `If-Match` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Swap {
    /// With quotes, as HTTP has it.
    Quoted,
    /// Without quotes only.
    Unquoted,
    /// Not at all.
    No,
}

impl Probe {
    /// The kind that this program makes.
    pub const KIND: u32 = 1;

    /// Whether conditional writes hold.
    pub fn compare_and_swap(&self) -> bool {
        self.create && self.swap != Swap::No
    }

    /// Whether `If-Match` takes an ETag with quotes.
    pub fn takes_quotes(&self) -> bool {
        self.swap != Swap::Unquoted
    }

    /// Why a database on this server is read-only.
    pub fn complaint(&self) -> String {
        let headers = match (self.create, self.swap) {
            (false, Swap::No) => "If-None-Match and If-Match",
            (false, _) => "If-None-Match",
            _ => "If-Match",
        };
        format!(
            "the server {} does not hold conditional writes ({headers}), so writers would overwrite each other; \
             the database is read-only there. Use a server that does, or add ?unsafe=last-write-wins to the URL",
            self.server
        )
    }
}
