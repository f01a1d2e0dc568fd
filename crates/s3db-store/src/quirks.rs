//! Ways in which real object stores differ from the ideal one.

use crate::Capabilities;
use md5::{Digest as _, Md5};

/// What an engine imitates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// The ETag is the MD5 of the body, so that two bodies that are equal share it.
    pub etag_is_digest: bool,
    /// Modification times have a grain of one second.
    pub coarse_time: bool,
    /// A conditional delete ignores its condition.
    pub unconditional_delete: bool,
    /// Listings go by names, folder by folder, as a file system does: `a/b` before `a-b`.
    pub lists_by_name: bool,
}

impl Quirks {
    /// What ordinary S3 objects do. Without this mode no test would notice that an ETag is no
    /// version.
    pub const S3: Quirks =
        Quirks { etag_is_digest: true, coarse_time: true, unconditional_delete: true, lists_by_name: false };

    pub(crate) fn etag(self, counter: u64, body: &[u8]) -> String {
        if self.etag_is_digest {
            return Md5::digest(body).iter().map(|b| format!("{b:02x}")).collect();
        }
        format!("{counter:x}")
    }

    /// What an engine that holds its conditions can do under these quirks.
    pub(crate) fn capabilities(self) -> Capabilities {
        Capabilities {
            compare_and_swap: true,
            conditional_delete: !self.unconditional_delete,
            definite_refusals: self == Quirks::default(),
            ordered_listing: !self.lists_by_name,
        }
    }

    pub(crate) fn modified(self, now_ms: i64) -> i64 {
        if self.coarse_time { now_ms - now_ms.rem_euclid(1000) } else { now_ms }
    }
}
